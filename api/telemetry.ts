/** What sites report over MQTT. Topics carry the site; the broker lets a certificate publish only under its own site's name. */
export const topics = {
  /** Every second while it changes: TrafficSample[] */
  traffic: (site: string): string => `telemetry/${site}/traffic`,
  /** ProbeSample[] */
  probes: (site: string): string => `telemetry/${site}/probes`,
  /** CapacitySample */
  capacity: (site: string): string => `telemetry/${site}/capacity`,
} as const;

/** Counted by the front's eBPF program since the last report. Delivery is at least once: (site, epoch, sequence) removes duplicates. */
export interface TrafficSample {
  readonly site: string;
  /** Changes when the counters restart from zero. */
  readonly epoch: string;
  readonly sequence: number;
  readonly at: number;
  readonly periodMs: number;
  readonly rows: readonly {
    readonly application: string; readonly clientRegion: string;
    readonly connections: number; readonly bytesIn: number; readonly bytesOut: number;
    /** Mean ms between client and front over the handshakes of the period; null = none ended. */
    readonly rttMs: number | null;
    /** How many handshakes ended well; fewer than `connections` means that some did not. Absent or null = not counted (UDP, older agents). */
    readonly handshakes?: number | null;
  }[];
}

/** Round-trip times to other sites and to client regions; null = no answer in time. */
export interface ProbeSample {
  readonly site: string;
  readonly at: number;
  readonly rows: readonly {
    readonly to: string; readonly kind: 'site' | 'client-region'; readonly rttMs: number | null; readonly loss: number;
    /** Mbit/s, from a short train of packets, once in a while; absent or null = not measured in this round. */
    readonly mbps?: number | null;
  }[];
}

export interface CapacitySample {
  readonly site: string;
  readonly at: number;
  readonly nodes: number;
  readonly readyNodes: number;
  readonly cpuMilli: number;
  readonly memoryMiB: number;
  readonly usedCpuMilli: number;
  readonly usedMemoryMiB: number;
}
