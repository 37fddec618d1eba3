import assert from 'node:assert/strict';
import type { Allocation, Application, Placement } from '../../../../api/kinds/mesh.ts';
import { applicationOf, membersOf } from '../../../../scheduler/global/allocation.ts';
import { decideAllocation, type Decision, type Observed } from '../../../../scheduler/global/allocation-decide.ts';
import { fitOf } from '../../../../scheduler/global/allocation-fit.ts';
import type { Snapshot } from '../../../../scheduler/global/global-scheduler.ts';
import type { SiteModel } from '../../../../scheduler/global/model.ts';
import { plan } from '../../../../scheduler/global/planner.ts';
import { suite } from '../../../kit/suite.ts';
import { app, site, world } from './kit.ts';

const { it, run } = suite('allocation');
const NOW = Date.parse('2030-01-01T12:00:00Z');

/** west has two small sites, east a big one that costs more. */
const SITES = [
  site('west-1', { cpuMilli: 1000, memoryMiB: 1024, labels: { 'topology.kubernetes.io/zone': 'w1', 'mesh.proxima.io/city': 'seattle' } }),
  site('west-2', { cpuMilli: 1000, memoryMiB: 1024, labels: { 'topology.kubernetes.io/zone': 'w2' } }),
  site('east-1', { cpuMilli: 4000, memoryMiB: 8192, cost: 3 }),
];

function snapshotOf(sites: readonly SiteModel[] = SITES, running: Parameters<typeof world>[0] = []): Snapshot {
  const model = world(running, sites, () => 10);
  return { at: NOW, model, plan: plan(model, new Map(), NOW), states: new Map(), objects: { applications: new Map(), policies: new Map(), placements: new Map(), vpcs: new Map([['acme/main', {} as never]]) } };
}

type Resource = Allocation['spec']['resourceGroups'][number]['resources'][number];
let nextPort = 9000;
const resource = (name: string, cpu: string, memory = '128Mi', o: Partial<Resource> = {}): Resource => ({ name, service: { port: ++nextPort }, template: { spec: { virtualMachine: { name, image: 'vm', resources: { requests: { cpu, memory } } } } }, ...o });
const allocation = (groups: Readonly<Record<string, readonly Resource[]>>, spec: Partial<Allocation['spec']> = {}): Allocation => ({
  apiVersion: 'mesh.proxima.io/v1', kind: 'Allocation', metadata: { name: 'batch', namespace: 'default', tenant: 'acme', uid: 'u1' },
  spec: { vpc: 'main', resourceGroups: Object.entries(groups).map(([name, resources]) => ({ name, resources })), ...spec },
});

const sitesOf = (a: Allocation, s: Snapshot = snapshotOf()): unknown => {
  const fit = fitOf(a, s);
  return 'message' in fit ? `${fit.group}: ${fit.message}` : Object.fromEntries(fit.sites);
};

it('puts all of a centralized group at the cheapest site that has room for it together', () => {
  assert.deepEqual(sitesOf(allocation({ g: [resource('a', '400m'), resource('b', '500m')] })), { 'g/a': ['west-1'], 'g/b': ['west-1'] });
  assert.deepEqual(sitesOf(allocation({ g: [resource('a', '600m'), resource('b', '600m')] })), { 'g/a': ['east-1'], 'g/b': ['east-1'] });
  assert.deepEqual(sitesOf(allocation({ g: [resource('a', '900m')], h: [resource('b', '900m')] })), { 'g/a': ['west-1'], 'h/b': ['west-2'] });
});

it('puts a discrete resource at as many sites as it has replicas', () => {
  assert.deepEqual(sitesOf(allocation({ g: [resource('a', '300m')] }, { strategy: 'discrete', replicas: 3 })), { 'g/a': ['east-1', 'west-1', 'west-2'] });
  assert.match(String(sitesOf(allocation({ g: [resource('a', '300m')] }, { strategy: 'discrete', replicas: 4 }))), /^g: g\/a: 3 of 4 different sites have room$/);
});

it('takes the sites that the selector allows, by region, zone and place', () => {
  const one = (selector: Allocation['spec']['selector']): unknown => sitesOf(allocation({ g: [resource('a', '300m')] }, selector === undefined ? {} : { selector }));
  assert.deepEqual(one({ regions: [{ region: 'east' }] }), { 'g/a': ['east-1'] });
  assert.deepEqual(one({ regions: [{ region: 'east' }, { region: 'west', zones: ['w2'] }] }), { 'g/a': ['west-2'] });
  assert.deepEqual(one({ geoLocation: { city: 'seattle' } }), { 'g/a': ['west-1'] });
  assert.equal(one({ operator: 'nobody' }), 'g: g/a: no site is allowed by spec.selector');
  const zoned = allocation({ g: [resource('a', '300m')] }, { strategy: 'discrete', replicas: 2, selector: { regions: [{ region: 'west', zones: ['w1', 'w2'] }] } });
  assert.deepEqual(sitesOf(zoned), { 'g/a': ['west-1', 'west-2'] });
});

it('counts what others hold, and says what binds', () => {
  const busy = snapshotOf(SITES, [app('web', {}, { cpuMilli: 3500, memoryMiB: 64, policy: { instances: { min: 1, max: 1 } } })]);
  assert.equal(busy.plan.applications.get('acme/default/web')?.sites[0]?.site, 'east-1');
  assert.match(String(sitesOf(allocation({ g: [resource('a', '600m'), resource('b', '600m')] }), busy)), /^g: g\/[ab]: no single site has room for the whole group; west-1, which takes most of it, has \d+ of 1000 mCPU free, one instance needs 600/);
});

it('falls back to the next flavor when the first has no place', () => {
  const flavors = [{ name: 'huge', cpu: '8', memory: '1Gi' }, { name: 'big', cpu: '3', memory: '1Gi' }, { name: 'small', cpu: '100m', memory: '64Mi' }];
  const a = allocation({ g: [resource('a', '1', '1Gi', { flavors })] });
  const fit = fitOf(a, snapshotOf());
  assert.ok(!('message' in fit));
  assert.deepEqual([fit.choice.flavors.get('g/a'), fit.sites.get('g/a')], [1, ['east-1']]);
  const [member] = membersOf(a);
  assert.ok(member !== undefined);
  assert.deepEqual(applicationOf(a, member, fit.choice, SITES).spec.template.spec.virtualMachine?.resources?.requests, { cpu: '3', memory: '1Gi' });
});

it('refuses a port that is held, a VPC that is not there and a name that is taken', () => {
  const a = allocation({ g: [resource('a', '100m')] });
  const [member] = membersOf(a);
  assert.ok(member !== undefined);
  const foreign = { ...applicationOf(a, member, { flavors: new Map(), sites: new Map() }, []), metadata: { name: 'batch-g-a', namespace: 'default', tenant: 'acme' } } as Application;
  const s = snapshotOf();
  const withApp = (x: Application): Snapshot => ({ ...s, objects: { ...s.objects, applications: new Map([[`acme/default/${x.metadata.name}`, x]]) } });
  assert.match(String(sitesOf(a, withApp(foreign))), /there is an application "batch-g-a" that is not of this allocation/);
  assert.match(String(sitesOf(a, withApp({ ...foreign, metadata: { ...foreign.metadata, name: 'older', creationTimestamp: '2029-01-01T00:00:00Z' } }))), /is held at every front by application default\/older/);
  assert.match(String(sitesOf({ ...a, spec: { ...a.spec, vpc: 'none' } })), /spec\.vpc: no VPC "none" in tenant acme/);
});

/** The loop without a server: what is decided is done, and decided again. */
class Play {
  allocation: Allocation;
  readonly applications = new Map<string, Application>();
  readonly placements = new Map<string, Placement>();
  now = NOW;

  constructor(a: Allocation) {
    this.allocation = a;
  }

  look(snapshot = snapshotOf()): Decision {
    const observed: Observed = { allocation: this.allocation, applications: this.applications, placements: this.placements, snapshot, now: this.now };
    const decision = decideAllocation(observed);
    this.allocation = { ...this.allocation, status: decision.status };
    for (const a of decision.make) this.applications.set(a.metadata.name, a);
    for (const a of decision.remove) this.applications.delete(a.metadata.name);
    return decision;
  }

  place(name: string, at: string, ready: number, phase = 'serving'): void {
    this.placements.set(name, { apiVersion: '', kind: 'Placement', metadata: { name }, spec: { application: name, sites: [{ site: at, instances: 1, reason: '' }] }, status: { sites: [{ site: at, region: 'west', instances: 1, ready, state: 'serving', reason: '' }], moves: [{ at: '', reason: 'no instance became Ready', phase }] } });
  }

  get phase(): string {
    return `${this.allocation.status?.phase ?? ''} ${this.allocation.status?.groups?.map((g) => `${g.name}=${g.phase}`).join(',') ?? ''}`;
  }
}

const two = (): Allocation => allocation({ g: [resource('a', '400m')], h: [resource('b', '400m')] });

it('is Placed when everything of it is ready, and keeps what it chose', () => {
  const play = new Play(two());
  assert.deepEqual(play.look().make.map((a) => [a.metadata.name, a.spec.policy?.sites?.required?.names]), [['batch-g-a', ['west-1']], ['batch-h-b', ['west-1']]]);
  play.place('batch-g-a', 'west-1', 1);
  play.look();
  assert.equal(play.phase, 'Placing g=Placed,h=Placing');
  play.place('batch-h-b', 'west-1', 1);
  const last = play.look();
  assert.equal(play.phase, 'Placed g=Placed,h=Placed');
  assert.deepEqual([last.make, last.remove], [[], []]);
  assert.deepEqual(play.look().status, last.status);
  play.applications.delete('batch-h-b');
  assert.deepEqual(play.look().make.map((a) => [a.metadata.name, a.spec.policy?.sites?.required?.names]), [['batch-h-b', ['west-1']]]);
});

it('leaves nothing behind when one of its groups does not fit', () => {
  const play = new Play(allocation({ g: [resource('a', '400m')], h: [resource('b', '64')] }));
  const decision = play.look();
  assert.deepEqual([decision.make, decision.remove], [[], []]);
  assert.equal(play.phase, 'Failed g=Failed,h=Failed');
  assert.match(decision.status.message ?? '', /^group h: h\/b: no single site has room for the whole group/);
  assert.match(decision.status.groups?.[1]?.message ?? '', /has room/);
  play.look();
  assert.match(play.allocation.status?.groups?.[1]?.message ?? '', /has room/);
});

for (const [what, fail, reason] of [
  ['a start was undone', (p: Play) => p.place('batch-h-b', 'west-1', 0, 'undone'), /group h: h\/b: no instance became Ready/],
  ['time is over', (p: Play) => void (p.now += 301_000), /not ready in 300 s: h\/b has 0 of 1 ready/],
  [
    'an application of it is refused',
    (p: Play) => {
      p.applications.set('batch-h-b', { ...(p.applications.get('batch-h-b') as Application), status: { phase: 'Unmet', message: 'no room' } });
      p.now += 11_000;
    },
    /group h: h\/b: no room/,
  ],
] as const) {
  it(`takes everything back when ${what}, and says Failed only when nothing is left`, () => {
    const play = new Play(two());
    play.look();
    play.place('batch-g-a', 'west-1', 1);
    fail(play);
    assert.deepEqual(play.look().remove.map((a) => a.metadata.name), ['batch-g-a', 'batch-h-b']);
    assert.equal(play.phase, 'RollingBack g=RollingBack,h=RollingBack');
    assert.match(play.allocation.status?.message ?? '', reason);
    play.look();
    assert.match(play.phase, /^RollingBack/); // its placements still stand
    play.placements.clear();
    play.look();
    assert.match(play.phase, /^Failed/);
    assert.match(play.allocation.status?.message ?? '', reason);
    assert.deepEqual(play.look().make, []);
  });
}

it('tries a failed one again after longer and longer pauses, whole, as soon as it fits; never when it is told so', () => {
  const play = new Play(allocation({ g: [resource('a', '400m')], h: [resource('b', '8')] }));
  const pauses: number[] = [];
  for (let n = 1; n <= 5; n++) {
    assert.deepEqual(play.look().make, []);
    assert.equal(play.allocation.status?.attempts, n);
    const at = Date.parse(play.allocation.status?.retryAt ?? '');
    pauses.push((at - play.now) / 1000);
    play.now = at - 1;
    const before = play.allocation.status;
    assert.deepEqual(play.look().status, before, 'not before its time');
    play.now = at;
  }
  assert.deepEqual(pauses, [10, 20, 40, 60, 60]);
  const roomy = snapshotOf([...SITES, site('east-2', { cpuMilli: 16_000, memoryMiB: 8192, cost: 5 })]);
  assert.deepEqual(play.look(roomy).make.map((a) => [a.metadata.name, a.spec.policy?.sites?.required?.names]), [['batch-g-a', ['west-1']], ['batch-h-b', ['east-2']]]);
  assert.equal(play.phase, 'Placing g=Placing,h=Placing');
  assert.equal(play.allocation.status?.groups?.[1]?.message, undefined, 'what bound is forgotten');
  assert.equal(play.allocation.status?.retryAt, undefined);

  const once = new Play(allocation({ g: [resource('a', '400m')], h: [resource('b', '8')] }, { retry: 'never' }));
  once.look();
  once.now += 3_600_000;
  assert.deepEqual(once.look(roomy).make, []);
  assert.match(once.phase, /^Failed/);
});

it('does not begin again while something of the last attempt is left', () => {
  const play = new Play(two());
  play.look();
  play.place('batch-g-a', 'west-1', 1);
  play.now += 301_000;
  play.look();
  play.placements.clear();
  play.look();
  assert.match(play.phase, /^Failed/);
  play.now += 3_600_000;
  play.place('batch-g-a', 'west-1', 1); // somebody wrote it late
  assert.deepEqual(play.look().make, []);
  assert.match(play.phase, /^RollingBack/);
  play.placements.clear();
  play.look();
  assert.match(play.phase, /^Failed/);
  assert.ok(Date.parse(play.allocation.status?.retryAt ?? '') > play.now, 'the pause counts anew');
});

it('goes on after a death between the status and the applications', () => {
  const play = new Play(two());
  play.look();
  play.applications.delete('batch-h-b'); // was never made
  assert.deepEqual(play.look().make.map((a) => a.metadata.name), ['batch-h-b']);
});

run();
