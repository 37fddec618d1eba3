/** The kinds of the mesh (`mesh.proxima.io/v1`): sites and joining, what crosses between them, and what the global scheduler is asked. */
import type { KubeObject } from '../object.ts';
import type { PodTemplate } from './core.ts';

/** A place that can run pods. Cluster-scoped in the region's API that it is attached to; the global scheduler collects them from every region. */
export interface Site extends KubeObject {
  readonly spec: {
    readonly kind: 'zone' | 'edge';
    readonly region: string;
    readonly location?: { readonly latitude: number; readonly longitude: number };
    /** Address of the site's front on its uplink. */
    readonly front?: string;
    readonly labels?: Readonly<Record<string, string>>;
    /** Cost of one instance-hour. */
    readonly cost?: number;
    readonly trust?: number;
    /** Carbon of one instance-hour. */
    readonly carbon?: number;
  };
  readonly status?: {
    readonly phase?: 'Pending' | 'Ready' | 'Unreachable';
    readonly lastSeen?: string;
    readonly nodes?: number;
    readonly gateway?: { readonly connected: boolean; readonly since?: string; readonly serial?: string };
    readonly message?: string;
  };
}

/** The secret itself is never stored: only its SHA-256. */
export interface JoinToken extends KubeObject {
  readonly spec: { readonly site: string; readonly secretHash: string; readonly expiresAt: string; readonly role: 'edge' | 'node' };
  readonly status?: { readonly usedAt?: string; readonly usedBy?: string };
}

/** A local address and port that stands for one remote service, for named callers, for named methods. */
export interface Presence extends KubeObject {
  readonly spec: {
    /** cloud: the service is in the region, edge sites call it. edge: the service is at `service.site`, the cloud calls it. */
    readonly direction: 'edge-to-cloud' | 'cloud-to-edge';
    readonly protocol: 'http' | 'tcp';
    readonly service: { readonly host: string; readonly port: number; readonly site?: string };
    /** Where callers find it: on each named site's gateway (or the region's, for cloud-to-edge). */
    readonly listen: { readonly sites: readonly string[]; readonly address?: string; readonly port: number };
    /** SPIFFE ids (`*` suffix allowed). Empty = nobody. */
    readonly callers: readonly string[];
    /** HTTP only: what may be asked. Absent = nothing. */
    readonly allow?: readonly { readonly methods: readonly string[]; readonly path: string }[];
  };
  readonly status?: { readonly sites?: Readonly<Record<string, { readonly ready: boolean; readonly address?: string; readonly message?: string }>> };
}

export interface LatencyGoal {
  readonly percentile: number;
  readonly milliseconds: number;
  /** Absent = all client regions. */
  readonly clientRegion?: string;
}

export type OnUnreachable = 'stay' | 'duplicate' | 'fence' | 'move';

/** One step of what is done while a site stays out of reach. */
export interface UnreachableStep {
  readonly action: OnUnreachable;
  /** Of being out of reach, until the action is in force. */
  readonly afterSeconds: number;
}

export interface PolicySpec {
  readonly latency?: readonly LatencyGoal[];
  readonly instances: { readonly min: number; readonly max: number };
  readonly sites?: {
    readonly required?: SiteSelector;
    readonly preferred?: readonly (SiteSelector & { readonly weight: number })[];
    readonly forbidden?: readonly string[];
  };
  /** Regions whose sites alone may hold the data. */
  readonly residency?: readonly string[];
  readonly edgeAllowed?: boolean;
  readonly spread?: { readonly over: 'region' | 'site' | 'zone'; readonly min: number };
  readonly affinity?: readonly string[];
  readonly antiAffinity?: readonly string[];
  readonly minTrust?: number;
  readonly cost?: { readonly ceiling?: number; readonly weights?: { readonly latency?: number; readonly money?: number; readonly carbon?: number } };
  readonly migration?: { readonly allowed: boolean; readonly maxMovesPerHour?: number; readonly windows?: readonly { readonly from: string; readonly to: string }[] };
  /** One step, or several with rising delays; the last whose delay is over is in force (`scheduler/global/unreachable.ts`). */
  readonly unreachable?: UnreachableStep | readonly UnreachableStep[];
  readonly failback?: { readonly automatic: boolean; readonly maxPerMinute?: number; readonly stabilisationSeconds?: number };
  readonly overflow?: boolean;
}

export interface SiteSelector {
  readonly names?: readonly string[];
  readonly regions?: readonly string[];
  readonly labels?: Readonly<Record<string, string>>;
}

export interface PlacementPolicy extends KubeObject {
  readonly spec: PolicySpec;
}

export interface Application extends KubeObject {
  readonly spec: {
    readonly template: PodTemplate;
    readonly vpc: string;
    readonly service: { readonly port: number; readonly targetPort?: number; readonly protocol?: 'TCP' | 'UDP' };
    /** Requests per second one instance serves. */
    readonly capacity?: number;
    readonly policyRef?: string;
    readonly policy?: PolicySpec;
  };
  readonly status?: { readonly phase?: 'Pending' | 'Placed' | 'Unmet'; readonly message?: string; readonly observedGeneration?: number };
}

export interface SitePlacement {
  readonly site: string;
  readonly region: string;
  readonly instances: number;
  readonly ready: number;
  readonly state: 'starting' | 'serving' | 'draining' | 'unreachable';
  readonly reason: string;
}

/** Name = the application's. Written by the planner (spec) and the mover (status). */
export interface Placement extends KubeObject {
  readonly spec: { readonly application: string; readonly sites: readonly { readonly site: string; readonly instances: number; readonly reason: string }[]; readonly plannedAt?: string };
  readonly status?: {
    readonly sites?: readonly SitePlacement[];
    readonly goals?: readonly { readonly clientRegion: string; readonly goalMs: number; readonly predictedMs: number; readonly met: boolean; readonly servedFrom: string }[];
    readonly refused?: readonly { readonly site: string; readonly reason: string }[];
    readonly moves?: readonly { readonly at: string; readonly from?: string; readonly to?: string; readonly reason: string; readonly phase: string; readonly bytes?: number; readonly downtimeMs?: number }[];
    readonly message?: string;
  };
}

/** One size that a resource may have. */
export interface Flavor {
  readonly name?: string;
  /** Quantities, such as 500m and 1Gi. */
  readonly cpu: string;
  readonly memory: string;
}

export interface AllocationResource {
  readonly name: string;
  readonly template: PodTemplate;
  /** In order of preference. Absent = what the template asks for. */
  readonly flavors?: readonly Flavor[];
  readonly service: Application['spec']['service'];
  readonly capacity?: number;
}

export interface AllocationSelector {
  readonly geoLocation?: { readonly country?: string; readonly area?: string; readonly province?: string; readonly city?: string };
  readonly regions?: readonly { readonly region: string; readonly zones?: readonly string[] }[];
  readonly operator?: string;
}

/** Resource groups that are placed all together or not at all. */
export interface Allocation extends KubeObject {
  readonly spec: {
    readonly vpc: string;
    readonly resourceGroups: readonly { readonly name: string; readonly resources: readonly AllocationResource[] }[];
    readonly selector?: AllocationSelector;
    readonly strategy?: 'centralize' | 'discrete';
    /** Of every resource. */
    readonly replicas?: number;
    readonly placeWithinSeconds?: number;
    /** @default 'always' */
    readonly retry?: 'always' | 'never';
  };
  readonly status?: AllocationStatus;
}

export type AllocationPhase = 'Pending' | 'Placing' | 'Placed' | 'RollingBack' | 'Failed';

export interface AllocationStatus {
  readonly phase?: AllocationPhase;
  readonly message?: string;
  readonly startedAt?: string;
  /** How often it was tried. */
  readonly attempts?: number;
  /** Of a Failed one: when it is tried again. */
  readonly retryAt?: string;
  readonly groups?: readonly AllocationGroupStatus[];
}

export interface AllocationGroupStatus {
  readonly name: string;
  readonly phase: AllocationPhase;
  /** centralize: the one site of the group. */
  readonly site?: string;
  readonly message?: string;
  readonly resources: readonly { readonly name: string; readonly application: string; readonly flavor?: number; readonly wanted: number; readonly ready: number; readonly sites: readonly string[] }[];
}
