/**
 * A placement policy's fields: the same inside an Application and as an object of its own. What each field means, its unit and its default are in
 * the descriptions, which `kubectl explain` prints; `policy-rules.ts` has what a schema cannot say. docs/policy.md is the long form.
 */
import { Type } from 'typebox';
import type { Json, JsonObject } from '../definition.ts';
import { get, integer, labels, map, name, number, oneOf, text } from './define.ts';

const names = (description: string, item: string): ReturnType<typeof Type.Array> => Type.Array(name(item), { description, maxItems: 1000 });

/** Without `instances`: from one to ten. */
const DEFAULT_INSTANCES = { min: 1, max: 10 } as const;

const selectorFields = {
  names: Type.Optional(names('Sites with one of these names.', 'Name of a Site.')),
  regions: Type.Optional(names('Sites of one of these regions.', 'Name of a region, as in spec.region of a Site.')),
  labels: Type.Optional(labels('Sites with all of these labels, each with exactly this value (metadata.labels and spec.labels of a Site).')),
};

const latency = Type.Array(
  Type.Object(
    {
      percentile: number('Share of the requests, in percent, that must be answered within the goal, such as 95.', 1, 100),
      milliseconds: number('Network round trip, in milliseconds, from the clients to the instance that serves them, of at most this.', 0.01, 60_000),
      clientRegion: Type.Optional(name('Clients of this client region only. Absent: the clients of every region, each region by itself.')),
    },
    { description: 'One goal.' },
  ),
  {
    description:
      'Latency goals, per client region or for all. The strictest goal that applies to a client region counts. A goal that light in fibre cannot reach from any allowed site is refused; one that cannot be met now (no room, no instance left) is accepted and shown as unmet with the binding constraint in the Placement.',
    maxItems: 100,
  },
);

const instances = Type.Object(
  {
    min: Type.Optional(Type.Integer({ description: 'At least so many, even without any request. 0 lets an application without clients stop. Default 1.', minimum: 0, maximum: 10_000, default: DEFAULT_INSTANCES.min })),
    max: Type.Optional(Type.Integer({ description: 'Never more than so many, whatever the demand; what they cannot serve is shown as unmet. Default 10, or min when that is more.', minimum: 1, maximum: 10_000 })),
  },
  { description: 'Instances over all sites together. The planner chooses the number between min and max from the measured requests per second and spec.capacity of the application.', default: {} },
);

const sites = Type.Object(
  {
    required: Type.Optional(Type.Object(selectorFields, { description: 'Only sites that fit all the given selectors (names and regions and labels) may be used. Absent: every site.' })),
    preferred: Type.Optional(
      Type.Array(Type.Object({ ...selectorFields, weight: number('How much it is preferred, from 0 to 100. 10 is worth a mean round trip longer by 1 ms.', 0, 100) }, { description: 'One preference; fits like required.' }), {
        description: 'Sites to take rather than others, where goals and cost are not much worse. Weights of several preferences that fit one site add up.',
        maxItems: 100,
      }),
    ),
    forbidden: Type.Optional(names('Sites where no instance may ever run, whatever else this policy says. What runs there is moved.', 'Name of a Site.')),
  },
  { description: 'Where it may, should and may not run.' },
);

const cost = Type.Object(
  {
    ceiling: Type.Optional(number('All instances together may cost at most this per hour, in the unit of spec.cost of the Sites. Instances are not added beyond it; what stays unserved is shown as unmet.', 0)),
    weights: Type.Optional(
      Type.Object(
        {
          latency: Type.Optional(Type.Number({ description: 'Points of one millisecond of mean round trip. Default 1.', minimum: 0, maximum: 1_000_000, default: 1 })),
          money: Type.Optional(Type.Number({ description: 'Points of one unit of cost per hour. Default 1.', minimum: 0, maximum: 1_000_000, default: 1 })),
          carbon: Type.Optional(Type.Number({ description: 'Points of one unit of carbon (spec.carbon of the Sites) per hour. Default 0.', minimum: 0, maximum: 1_000_000, default: 0 })),
        },
        { description: 'What the planner makes small: the sum of these three, in points. Only their ratio counts.' },
      ),
    ),
  },
  { description: 'What it may cost, and what counts how much.' },
);

const clockTime = (description: string): ReturnType<typeof text> => text(`${description} HH:MM, 24 hours, UTC.`, { pattern: '^([01]\\d|2[0-3]):[0-5]\\d$' });

const migration = Type.Object(
  {
    allowed: Type.Optional(Type.Boolean({ description: 'May running instances be moved to a better site? false: they stay where they started, unless their site is lost or forbidden. Default true.', default: true })),
    windows: Type.Optional(
      Type.Array(Type.Object({ from: clockTime('From.'), to: clockTime('Until; before from means over midnight.') }, { description: 'One span of every day.' }), {
        description: 'When it may be moved for gain. Absent or empty: at any time. Lost sites are left at any time.',
        maxItems: 24,
      }),
    ),
    maxMovesPerHour: Type.Optional(integer('At most so many moves for gain in any hour. 0: none. Absent: only the budgets of the site and of the mover count.', 0, 10_000)),
  },
  { description: 'Moving of running instances for lower latency or cost.' },
);

const unreachable = Type.Array(
  Type.Object(
    {
      action: oneOf(
        ['stay', 'duplicate', 'fence', 'move'],
        'stay: leave the instances there and start none elsewhere. duplicate: they run on and serve the clients of their site, as many are started elsewhere. fence: the site itself stops them when the delay is over, and only then they are replaced elsewhere, so never two of the same serve. move: replaced elsewhere; the old ones are removed when the site returns.',
      ),
      afterSeconds: number('The site has been out of reach for so many seconds.', 0, 604_800),
    },
    { description: 'One step.' },
  ),
  {
    description:
      'What to do when a site with instances is out of reach, as one step {action, afterSeconds} or as a list of steps with rising delays, such as duplicate after 5 seconds and move after 600. The last step whose delay is over is in force; before the first one nothing is done. Default: duplicate after 1 second.',
    minItems: 1,
    maxItems: 8,
    'x-proxima-one-or-many': true,
    'x-kubernetes-preserve-unknown-fields': true,
  },
);

const failback = Type.Object(
  {
    automatic: Type.Optional(Type.Boolean({ description: 'Does a site that was lost and is back get instances again by itself? false: not before this is set to true. Default true.', default: true })),
    maxPerMinute: Type.Optional(number('At most so many instances a minute come back to one site. Absent: all at once.', 0.01, 10_000)),
    stabilisationSeconds: Type.Optional(Type.Number({ description: 'The site must have been well for so many seconds before it counts again. Default 10.', minimum: 0, maximum: 604_800, default: 10 })),
  },
  { description: 'Coming back to a site that was out of reach.' },
);

const policyFields = {
  latency: Type.Optional(latency),
  instances: Type.Optional(instances),
  sites: Type.Optional(sites),
  residency: Type.Optional(names('Only sites of these regions may hold the data, so only they may run instances. Absent: every region.', 'Name of a region.')),
  edgeAllowed: Type.Optional(Type.Boolean({ description: 'May run at edge sites, not only at zones of regions. Default true.', default: true })),
  spread: Type.Optional(
    Type.Object(
      {
        over: oneOf(['region', 'site', 'zone'], 'What counts as one place: a region, a site, or the label topology.kubernetes.io/zone of the sites (a site without it is its own zone).'),
        min: integer('At least in so many places at the same time.', 1, 1000),
      },
      { description: 'Against the loss of one place: instances in several. Counts before the latency goals.' },
    ),
  ),
  affinity: Type.Optional(names('Applications of the same namespace to share sites with, where goals and cost allow it.', 'Name of an Application.')),
  antiAffinity: Type.Optional(names('Applications of the same namespace never to share a site with.', 'Name of an Application.')),
  minTrust: Type.Optional(number('Only sites whose spec.trust is at least this. Absent: every site.', 0)),
  cost: Type.Optional(cost),
  migration: Type.Optional(migration),
  unreachable: Type.Optional(unreachable),
  failback: Type.Optional(failback),
  overflow: Type.Optional(Type.Boolean({ description: 'May requests that find the edge sites full be served at further sites and at zones of regions? false: instances only at the edge sites that sites.required or sites.preferred selects (without either, at any edge site); what they cannot take is shown as unmet. Default true.', default: true })),
};

export const policySpec = Type.Object(policyFields, { description: 'What the application accepts: latency, cost, places, moves, failures.' });

/** What the schema's own defaults cannot say; in place. `policy` is whatever was sent. */
export function defaultPolicy(policy: Json | undefined): void {
  if (policy === null || typeof policy !== 'object' || Array.isArray(policy)) return;
  const spec: JsonObject = policy;
  const instances = { ...map(spec, 'instances') };
  const min = get(instances, 'min');
  instances['max'] ??= Math.max(DEFAULT_INSTANCES.max, typeof min === 'number' ? min : 0);
  spec['instances'] = instances;
}
