import assert from 'node:assert/strict';
import type { JsonObject } from '../../../api/definition.ts';
import { definitions } from '../../../api/definitions.ts';
import { isMeshError } from '../../../api/errors.ts';
import type { ResourceName } from '../../../api/resources.ts';
import type { Schema } from '../../../api/schema.ts';
import { admit } from '../../../cloud/apiserver/admission.ts';
import { masterIdentity } from '../../../cloud/apiserver/identity.ts';
import { suite } from '../../kit/suite.ts';

const { it, run } = suite('policy schema');

/** `path: message` of every issue; the object as it would be stored. */
function admitted(kind: ResourceName, body: object): { readonly object: JsonObject; readonly issues: readonly string[] } {
  const object = structuredClone({ metadata: { name: 'web' }, ...body }) as JsonObject;
  try {
    admit(definitions[kind], object, null, { who: masterIdentity, fieldValidation: 'Strict', warnings: [] });
    return { object, issues: [] };
  } catch (error) {
    if (!isMeshError(error)) throw error;
    const details = error.fields['details'] as { readonly causes?: readonly { readonly field: string; readonly message: string }[] } | undefined;
    return { object, issues: details?.causes?.map((c) => `${c.field}: ${c.message}`) ?? [error.message] };
  }
}
const policy = (spec: object): readonly string[] => admitted('PlacementPolicy', { spec }).issues;

it('takes a policy that uses every field', () => {
  const spec = {
    latency: [{ percentile: 95, milliseconds: 20 }, { percentile: 50, milliseconds: 5, clientRegion: 'metro-a' }],
    instances: { min: 2, max: 9 },
    sites: { required: { regions: ['west'], labels: { tier: 'gold' } }, preferred: [{ names: ['edge-a'], weight: 50 }], forbidden: ['edge-z'] },
    residency: ['west'], edgeAllowed: true, spread: { over: 'zone', min: 2 }, affinity: ['db'], antiAffinity: ['batch'], minTrust: 2,
    cost: { ceiling: 10, weights: { latency: 1, money: 2, carbon: 0.5 } },
    migration: { allowed: true, windows: [{ from: '22:00', to: '04:00' }], maxMovesPerHour: 4 },
    unreachable: [{ action: 'duplicate', afterSeconds: 5 }, { action: 'move', afterSeconds: 600 }],
    failback: { automatic: true, maxPerMinute: 2, stabilisationSeconds: 30 }, overflow: false,
  };
  assert.deepEqual(policy(spec), []);
  assert.deepEqual(policy({ unreachable: { action: 'fence', afterSeconds: 2 } }), []);
});

it('fills in what is left out', () => {
  const { object } = admitted('PlacementPolicy', { spec: { latency: [{ percentile: 90, milliseconds: 9 }], migration: {}, failback: {}, cost: { weights: { money: 3 } } } });
  assert.deepEqual(object['spec'], {
    latency: [{ percentile: 90, milliseconds: 9 }], instances: { min: 1, max: 10 }, migration: { allowed: true }, failback: { automatic: true, stabilisationSeconds: 10 },
    cost: { weights: { money: 3, latency: 1, carbon: 0 } }, edgeAllowed: true, overflow: true,
  });
  const many = admitted('Application', { spec: { vpc: 'v', service: { port: 80 }, template: { spec: { containers: [{ name: 'a', image: 'i' }] } }, policy: { instances: { min: 40 } } } }).object;
  assert.deepEqual(((many['spec'] as JsonObject)['policy'] as JsonObject)['instances'], { min: 40, max: 40 });
});

const refusals: readonly (readonly [spec: object, issue: RegExp])[] = [
  [{ instances: { min: 3, max: 2 } }, /^spec\.instances\.min: Invalid value: 3 is more than spec\.instances\.max \(2\)/],
  [{ spread: { over: 'site', min: 12 } }, /^spec\.spread\.min: .*12 places cannot be filled by at most 10 instances/],
  [{ sites: { required: {} } }, /^spec\.sites\.required: Required value: selects nothing/],
  [{ sites: { preferred: [{ names: ['a'], weight: 5 }, { weight: 5 }] } }, /^spec\.sites\.preferred\[1\]: .*selects nothing/],
  [{ sites: { required: { names: ['a'] }, forbidden: ['a'] } }, /^spec\.sites\.required\.names\[0\]: .*also in spec\.sites\.forbidden/],
  [{ sites: { required: { regions: ['east'] } }, residency: ['west'] }, /^spec\.sites\.required\.regions: .*none of east is in spec\.residency \(west\)/],
  [{ residency: [] }, /^spec\.residency: .*allows no region/],
  [{ affinity: ['db'], antiAffinity: ['x', 'db'] }, /^spec\.antiAffinity\[1\]: .*also in spec\.affinity/],
  [{ latency: [{ percentile: 95, milliseconds: 5 }, { percentile: 95, milliseconds: 8 }] }, /^spec\.latency\[1\]: Duplicate value/],
  [{ migration: { windows: [{ from: '03:00', to: '03:00' }] } }, /^spec\.migration\.windows\[0\]\.to: .*the window is empty/],
  [{ migration: { windows: [{ from: '3:00', to: '24:00' }] } }, /^spec\.migration\.windows\[0\]\.from: .*must match/],
  [{ unreachable: [{ action: 'duplicate', afterSeconds: 5 }, { action: 'move', afterSeconds: 5 }] }, /^spec\.unreachable\[1\]\.afterSeconds: .*5 is not more than/],
  [{ unreachable: [{ action: 'move', afterSeconds: 5 }, { action: 'stay', afterSeconds: 60 }] }, /^spec\.unreachable\[1\]\.action: .*"stay" comes after "move"/],
  [{ unreachable: [{ action: 'panic', afterSeconds: 5 }] }, /^spec\.unreachable\[0\]\.action: Unsupported value: "panic"/],
  [{ unreachable: { action: 'stay' } }, /^spec\.unreachable\.afterSeconds: Required value/],
  [{ unreachable: [] }, /^spec\.unreachable: .*at least 1 item/],
  [{ unreachable: 'move' }, /^spec\.unreachable: .*must be a map/],
  [{ overflow: false, edgeAllowed: false }, /^spec\.overflow: .*keeps it at edge sites/],
  [{ failback: { maxPerMinute: 0 } }, /^spec\.failback\.maxPerMinute: .*between/],
];
for (const [spec, expected] of refusals) {
  it(`refuses ${JSON.stringify(spec)}`, () => {
    const issues = policy(spec);
    assert.equal(issues.length, expected.source.includes('windows\\[0\\]\\.from') ? 2 : 1, issues.join(' | '));
    assert.match(issues[0] ?? '', expected);
  });
}

it('refuses an application that is to be far from itself', () => {
  const { issues } = admitted('Application', { spec: { vpc: 'v', service: { port: 80 }, template: { spec: { containers: [{ name: 'a', image: 'i' }] } }, policy: { antiAffinity: ['web'] } } });
  assert.match(issues.join(), /^spec\.policy\.antiAffinity\[0\]: .*"web" is this application itself/);
});

it('describes every field of what people write', () => {
  const bare: string[] = [];
  const walk = (s: Schema, path: string): void => {
    if (s.description === undefined && s.$ref === undefined) bare.push(path);
    for (const [name, p] of Object.entries(s.properties ?? {})) walk(p, `${path}.${name}`);
    if (s.items !== undefined) walk(s.items, `${path}[]`);
  };
  for (const kind of ['PlacementPolicy', 'Application', 'Placement'] as const) {
    walk(definitions[kind].schema.properties?.['spec'] as Schema, `${kind}.spec`);
    const status = definitions[kind].schema.properties?.['status'];
    if (status !== undefined) walk(status, `${kind}.status`);
  }
  assert.deepEqual(bare.filter((p) => !/\.(spec|status)$/.test(p)), []);
});

it('shows in a line where an application is, how much is ready and which goals are met', () => {
  const now = Date.parse('2030-01-01T00:10:00Z');
  const line = (kind: ResourceName, o: object): (string | number)[] => definitions[kind].columns.filter((c) => c.priority === 0 && c.name !== 'Age').map((c) => c.value(o as JsonObject, now));
  const placement = {
    metadata: { name: 'web' },
    spec: { application: 'web', sites: [{ site: 'edge-a', instances: 2, reason: '' }, { site: 'west-1', instances: 1, reason: '' }] },
    status: {
      sites: [{ site: 'edge-a', instances: 2, ready: 1, state: 'starting' }, { site: 'west-1', instances: 1, ready: 1, state: 'serving' }, { site: 'east-1', instances: 0, ready: 1, state: 'draining' }],
      goals: [{ clientRegion: 'a', met: true }, { clientRegion: 'b', met: false }],
      moves: [{ at: '2030-01-01T00:05:00Z' }, { at: '2030-01-01T00:07:00Z' }],
      message: 'client region b: 45 ms from west-1, goal 10 ms: no allowed site with room is nearer, and this sentence goes on for long',
    },
  };
  assert.deepEqual(line('Placement', placement).slice(0, 5), ['web', 'edge-a=2(starting),west-1=1,east-1=0(draining)', '2/3', '1/2', '3m']);
  assert.equal(String(line('Placement', placement)[5]).length, 90);
  assert.deepEqual(line('PlacementPolicy', { metadata: { name: 'p' }, spec: { latency: [{ percentile: 95, milliseconds: 5, clientRegion: 'a' }], instances: { min: 1, max: 4 }, sites: { required: { regions: ['west'] } }, edgeAllowed: false, unreachable: [{ action: 'duplicate', afterSeconds: 5 }, { action: 'move', afterSeconds: 600 }] } }), ['p', 'p95<=5ms@a', 1, 4, 'west,no edge', 'duplicate@5s,move@10m']);
});

run();
