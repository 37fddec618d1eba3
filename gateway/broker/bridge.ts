/**
 * From the site's disk queue to the region's broker, and the region's commands back: MQTT over whatever connection the uplink gives.
 * A fixed number of messages is under way; the queue forgets one only when every one before it has been acknowledged.
 */
import type { Duplex } from 'node:stream';
import type { MqttClient } from 'mqtt';
import type { Logger } from '../../base/log.ts';
import type { DiskQueue } from './disk-queue.ts';

const UNDER_WAY = 64;

export interface BridgeOptions {
  readonly site: string;
  readonly queue: DiskQueue;
  readonly log: Logger;
  readonly onCommand: (topic: string, payload: Buffer) => void;
}

export class Bridge {
  readonly #o: BridgeOptions;
  #client: MqttClient | null = null;
  #sent = 0;
  #underWay = new Set<number>();

  constructor(options: BridgeOptions) {
    this.#o = options;
    this.#sent = options.queue.acked;
    options.queue.onAppend(() => this.#pump());
  }

  /** Takes a fresh connection to the region's broker; what was under way on the old one is sent again. */
  async connect(conn: Duplex): Promise<void> {
    this.disconnect();
    const { default: mqtt } = await import('mqtt');
    const client = new mqtt.MqttClient(() => conn as ReturnType<ConstructorParameters<typeof mqtt.MqttClient>[0]>, { clientId: `site-${this.#o.site}`, clean: true, reconnectPeriod: 0, keepalive: 30, connectTimeout: 10_000 });
    this.#client = client;
    client.on('error', (error) => this.#o.log.warn('telemetry bridge failed', { err: error }));
    client.on('message', (topic, payload) => this.#o.onCommand(topic, payload));
    client.on('connect', () => {
      if (this.#client !== client) return;
      this.#sent = this.#o.queue.acked;
      this.#underWay = new Set();
      client.subscribe(`cmd/${this.#o.site}/#`, { qos: 1 }, (error) => error && this.#o.log.warn('commands cannot be subscribed', { err: error }));
      this.#o.log.info('telemetry bridge connected', { waiting: this.#o.queue.length });
      this.#pump();
    });
  }

  disconnect(): void {
    const client = this.#client;
    this.#client = null;
    client?.end(true);
  }

  #pump(): void {
    const client = this.#client;
    if (client?.connected !== true) return;
    const room = UNDER_WAY - this.#underWay.size;
    if (room < UNDER_WAY / 2 && this.#underWay.size > 0) return; // in halves, so that a segment is not read again for every message
    for (const message of this.#o.queue.read(this.#sent, room)) {
      this.#sent = message.sequence;
      this.#underWay.add(message.sequence);
      client.publish(message.topic, message.payload, { qos: 1 }, (error) => this.#acked(client, message.sequence, error ?? null));
    }
  }

  #acked(client: MqttClient, sequence: number, error: Error | null): void {
    if (this.#client !== client) return;
    if (error !== null) return this.#o.log.debug('telemetry message not delivered yet', { sequence, err: error });
    this.#underWay.delete(sequence);
    const first = this.#underWay.size === 0 ? this.#sent + 1 : Math.min(...this.#underWay);
    this.#o.queue.ack(first - 1);
    this.#pump();
  }
}
