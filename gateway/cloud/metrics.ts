/** What a cloud gateway counts, for Prometheus. */
import { Counter, Gauge, Registry } from 'prom-client';

export interface GatewayMetrics {
  refused(code: string): void;
  stream(kind: string): void;
  enrolled(outcome: 'enrolled' | 'renewed' | 'refused'): void;
  /** `reached`, or why not. */
  agentCall(outcome: string): void;
  text(): Promise<string>;
}

export function createMetrics(read: { readonly sessions: () => number; readonly streams: () => number; readonly messages: () => number }): GatewayMetrics {
  const registers = [new Registry()];
  const refused = new Counter({ name: 'proxima_gateway_refusals_total', help: 'Streams, requests, topics and certificates refused, by code', labelNames: ['code'], registers });
  const streams = new Counter({ name: 'proxima_gateway_streams_total', help: 'Streams served, by kind', labelNames: ['kind'], registers });
  const enrolments = new Counter({ name: 'proxima_gateway_enrolments_total', help: 'Requests for a certificate, by outcome', labelNames: ['outcome'], registers });
  const agentCalls = new Counter({ name: 'proxima_gateway_agent_calls_total', help: 'Connections that the region asked for to agents at edge sites, by outcome', labelNames: ['outcome'], registers });
  const gauge = (name: string, help: string, value: () => number): Gauge =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(value());
      },
    });
  gauge('proxima_gateway_sessions', 'Edge gateways connected', read.sessions);
  gauge('proxima_gateway_open_streams', 'Streams open now', read.streams);
  gauge('proxima_gateway_mqtt_messages', 'Messages that the broker took since its start', read.messages);
  return {
    refused: (code) => refused.inc({ code }),
    stream: (kind) => streams.inc({ kind }),
    enrolled: (outcome) => enrolments.inc({ outcome }),
    agentCall: (outcome) => agentCalls.inc({ outcome }),
    text: () => (registers[0] as Registry).metrics(),
  };
}
