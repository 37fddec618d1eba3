/** The parts of the Kubernetes core and apps kinds that Proxima's own code reads. The server keeps every other field as it came. */
import type { Condition, KubeObject } from '../object.ts';

export interface ResourceAmounts {
  readonly cpu?: string;
  readonly memory?: string;
}

export interface Container {
  readonly name: string;
  readonly image: string;
  readonly command?: readonly string[];
  readonly args?: readonly string[];
  readonly env?: readonly { readonly name: string; readonly value?: string }[];
  readonly ports?: readonly { readonly containerPort: number; readonly protocol?: 'TCP' | 'UDP'; readonly name?: string }[];
  readonly resources?: { readonly requests?: ResourceAmounts; readonly limits?: ResourceAmounts };
  readonly readinessProbe?: Probe;
}

export interface Probe {
  readonly httpGet?: { readonly path?: string; readonly port: number };
  readonly tcpSocket?: { readonly port: number };
  readonly periodSeconds?: number;
  readonly failureThreshold?: number;
}

/** One VM of a VM pod, after Arktos' `virtualMachine`. */
export interface VirtualMachine {
  readonly name: string;
  /** Name of a VM image on the node: a folder with `vmlinux` and `initrd`. */
  readonly image: string;
  readonly resources?: { readonly requests?: ResourceAmounts; readonly limits?: ResourceAmounts };
  readonly powerSpec?: 'Running' | 'Paused' | 'Shutdown' | 'Suspended';
  readonly publicKey?: string;
  readonly keyPairName?: string;
  readonly userData?: string;
  readonly readinessProbe?: Probe;
}

export interface PodSpec {
  readonly nodeName?: string;
  readonly nodeSelector?: Readonly<Record<string, string>>;
  readonly containers?: readonly Container[];
  readonly virtualMachine?: VirtualMachine;
  readonly vpc?: string;
  readonly terminationGracePeriodSeconds?: number;
  readonly restartPolicy?: 'Always' | 'OnFailure' | 'Never';
  readonly affinity?: unknown;
  readonly topologySpreadConstraints?: readonly { readonly topologyKey: string; readonly maxSkew: number }[];
  readonly tolerations?: readonly unknown[];
}

export interface PodStatus {
  readonly phase?: 'Pending' | 'Running' | 'Succeeded' | 'Failed' | 'Unknown' | 'NoSchedule';
  readonly podIP?: string;
  readonly hostIP?: string;
  readonly startTime?: string;
  readonly reason?: string;
  readonly message?: string;
  readonly conditions?: readonly Condition[];
  readonly containerStatuses?: readonly {
    readonly name: string;
    readonly ready: boolean;
    readonly restartCount: number;
    readonly image: string;
    readonly imageID?: string;
    readonly containerID?: string;
    readonly state?: Readonly<Record<string, unknown>>;
  }[];
  readonly virtualMachineStatus?: { readonly name: string; readonly state: string; readonly powerState: string; readonly ready: boolean; readonly restartCount: number };
}

export interface Pod extends KubeObject {
  readonly spec: PodSpec;
  readonly status?: PodStatus;
}

export interface PodTemplate {
  readonly metadata?: { readonly labels?: Readonly<Record<string, string>>; readonly annotations?: Readonly<Record<string, string>> };
  readonly spec: PodSpec;
}

export interface LabelSelector {
  readonly matchLabels?: Readonly<Record<string, string>>;
  readonly matchExpressions?: readonly { readonly key: string; readonly operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist'; readonly values?: readonly string[] }[];
}

export interface ReplicaSet extends KubeObject {
  readonly spec: { readonly replicas?: number; readonly minReadySeconds?: number; readonly selector: LabelSelector; readonly template: PodTemplate };
  readonly status?: { readonly replicas: number; readonly fullyLabeledReplicas?: number; readonly readyReplicas?: number; readonly availableReplicas?: number; readonly observedGeneration?: number };
}

export interface Deployment extends KubeObject {
  readonly spec: {
    readonly replicas?: number;
    readonly paused?: boolean;
    readonly minReadySeconds?: number;
    readonly revisionHistoryLimit?: number;
    readonly progressDeadlineSeconds?: number;
    readonly selector: LabelSelector;
    readonly template: PodTemplate;
    readonly strategy?: { readonly type?: 'RollingUpdate' | 'Recreate'; readonly rollingUpdate?: { readonly maxSurge?: number | string; readonly maxUnavailable?: number | string } };
  };
  readonly status?: {
    readonly replicas?: number;
    readonly updatedReplicas?: number;
    readonly readyReplicas?: number;
    readonly availableReplicas?: number;
    readonly unavailableReplicas?: number;
    readonly observedGeneration?: number;
    readonly conditions?: readonly Condition[];
  };
}

/** Labels every node carries: `mesh.proxima.io/site` names its site, `topology.kubernetes.io/region` its region. */
export interface Node extends KubeObject {
  readonly spec?: { readonly unschedulable?: boolean; readonly taints?: readonly { readonly key: string; readonly value?: string; readonly effect: string }[] };
  readonly status?: {
    readonly capacity?: Readonly<Record<string, string>>;
    readonly allocatable?: Readonly<Record<string, string>>;
    readonly addresses?: readonly { readonly type: string; readonly address: string }[];
    readonly conditions?: readonly Condition[];
    readonly nodeInfo?: Readonly<Record<string, unknown>>;
    readonly images?: readonly unknown[];
  };
}

export interface Lease extends KubeObject {
  readonly spec: { readonly holderIdentity?: string; readonly leaseDurationSeconds?: number; readonly renewTime?: string; readonly acquireTime?: string; readonly leaseTransitions?: number };
}

export interface Tenant extends KubeObject {
  readonly spec?: { readonly finalizers?: readonly string[]; readonly storageClusterId?: string };
  readonly status?: { readonly phase?: 'Active' | 'Terminating' };
}
