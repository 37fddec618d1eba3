/** The port through which a pod's interface comes into its VPC. The real one is the data plane of this node; tests bring a small one. */
import type { PodAddress } from './model.ts';

export interface PodAttachment {
  readonly podUid: string;
  /** The pod's network namespace, for containers; null for a VM. */
  readonly netnsPath: string | null;
  /** The VM's tap in the node's namespace; null for containers. */
  readonly tapName: string | null;
  /** Name of the interface inside the pod (containers) or the tap's own (VMs). */
  readonly ifName: string;
  readonly address: PodAddress;
}

export interface PodNetwork {
  /** May be called again for what is attached already. */
  attach(attachment: PodAttachment): Promise<PodAddress>;
  /** May be called for what is not attached. */
  detach(podUid: string): Promise<void>;
}
