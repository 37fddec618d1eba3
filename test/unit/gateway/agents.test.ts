import * as assert from 'uvu/assert';
import { agentName, type AgentQuestion, decideAgent, parseAgentAddress } from '../../../gateway/presence/agent-name.ts';
import { suite } from '../../kit/suite.ts';

const { it, run } = suite('the way to agents');

const ask = (change: Partial<AgentQuestion> & { readonly to?: string } = {}): string => {
  const verdict = decideAgent({ name: `@agent/${change.to ?? '192.168.50.11:10250'}`, caller: 'spiffe://proxima/region/r1', serial: 'AA', port: 10_250, network: '192.168.50.0/24', isRevoked: () => false, ...change });
  return verdict.ok ? `${verdict.at.host}:${verdict.at.port}` : verdict.code;
};

it('leads a region to one port of the site’s network', () => {
  assert.is(ask(), '192.168.50.11:10250');
  assert.is(ask({ network: '10.0.0.0/8', to: '10.200.3.4:10250' }), '10.200.3.4:10250');
});

it('is no way to anything else of the site', () => {
  assert.is(ask({ to: '192.168.50.11:22' }), 'notExposed');
  assert.is(ask({ to: '192.168.51.11:10250' }), 'notExposed');
  assert.is(ask({ to: '127.0.0.1:10250' }), 'notExposed');
  assert.is(ask({ port: null }), 'notExposed');
  assert.is(ask({ network: null }), 'notExposed');
});

it('is no way for anybody else', () => {
  for (const caller of ['', 'spiffe://proxima/admin/a', 'spiffe://proxima/global', 'spiffe://proxima/region/r1/gateway', 'spiffe://proxima/tenant/t/x', 'spiffe://elsewhere/region/r1']) assert.is(ask({ caller }), 'caller');
  assert.is(ask({ isRevoked: (serial) => serial === 'AA' }), 'revoked');
});

it('reads an address and a port and nothing more', () => {
  assert.is(agentName(parseAgentAddress('10.0.0.1:1') ?? { host: '', port: 0 }), '@agent/10.0.0.1:1');
  for (const text of ['', 'host:10250', '10.0.0.1', '10.0.0.1:0', '10.0.0.1:65536', '10.0.0.256:10250', '010.0.0.1:10250', '10.0.0.1:10250/x', '[::1]:10250']) assert.is(parseAgentAddress(text), null, text);
});

run();
