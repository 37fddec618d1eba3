/** What a policy asks for while a site stays out of reach: the steps it names, and which of them is in force after so long. */
import type { OnUnreachable, PolicySpec, UnreachableStep } from '../../api/kinds/mesh.ts';

/**
 * Of a policy that says nothing: clients get other instances soon, and nothing that may still serve is given up. A site that is only silent is
 * `suspect`, which does not count: when the delay begins, others have said already that they get no answer. More of it would only be time without
 * service; what it holds off is a start for a site that is back at once.
 */
export const DEFAULT_UNREACHABLE: readonly UnreachableStep[] = [{ action: 'duplicate', afterSeconds: 1 }];

/** Sorted by delay; a single step is a list of one. */
export function unreachableSteps(policy: Pick<PolicySpec, 'unreachable'>): readonly UnreachableStep[] {
  const { unreachable } = policy;
  if (unreachable === undefined) return DEFAULT_UNREACHABLE;
  const steps = 'action' in unreachable ? [unreachable] : unreachable;
  return steps.toSorted((a, b) => a.afterSeconds - b.afterSeconds);
}

/** The action in force when a site has been out of reach for so long: `stay` until the first delay is over. Pure. */
export function unreachableAt(policy: Pick<PolicySpec, 'unreachable'>, sinceSeconds: number): OnUnreachable {
  return unreachableSteps(policy).findLast((s) => s.afterSeconds <= sinceSeconds)?.action ?? 'stay';
}

/** Seconds until the next step is in force; null = none is left. For those who wait for it. */
export function nextUnreachable(policy: Pick<PolicySpec, 'unreachable'>, sinceSeconds: number): number | null {
  const step = unreachableSteps(policy).find((s) => s.afterSeconds > sinceSeconds);
  return step === undefined ? null : step.afterSeconds - sinceSeconds;
}
