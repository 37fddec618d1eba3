/**
 * What the two gateways tell each other besides streams: JSON lines on the control stream that the cloud opens. The cloud always sends the
 * complete goal, so that a lost message never matters; the edge answers with what became of it.
 */
import type { Static, TSchema } from 'typebox';
import { MeshError } from '../api/errors.ts';
import { problemsOf, Type } from '../api/type.ts';
import type { MuxStream } from './mux/stream.ts';
import type { PresenceRule } from './presence/policy.ts';

const Rule = Type.Object({
  key: Type.String(),
  direction: Type.Union([Type.Literal('edge-to-cloud'), Type.Literal('cloud-to-edge')]),
  protocol: Type.Union([Type.Literal('http'), Type.Literal('tcp')]),
  service: Type.Object({ host: Type.String(), port: Type.Integer(), site: Type.Union([Type.String(), Type.Null()]) }),
  listen: Type.Object({ sites: Type.Array(Type.String()), address: Type.Union([Type.String(), Type.Null()]), port: Type.Integer() }),
  callers: Type.Array(Type.String()),
  allow: Type.Array(Type.Object({ methods: Type.Array(Type.String()), path: Type.String() })),
  general: Type.Union([Type.Object({ upstream: Type.String(), rewritePrefix: Type.Union([Type.String(), Type.Null()]) }), Type.Null()]),
});

/** Everything a site's gateway has to know. */
const GoalSchema = Type.Object({ type: Type.Literal('goal'), presences: Type.Array(Rule), revoked: Type.Array(Type.String()) });
export interface GatewayGoal {
  readonly type: 'goal';
  readonly presences: readonly PresenceRule[];
  readonly revoked: readonly string[];
}

const StatusSchema = Type.Object({
  type: Type.Literal('status'),
  presences: Type.Record(Type.String(), Type.Object({ ready: Type.Boolean(), address: Type.Optional(Type.String()), message: Type.Optional(Type.String()) })),
});
export type GatewayStatus = Static<typeof StatusSchema>;

const RefusalSchema = Type.Object({
  type: Type.Literal('refusal'),
  refusal: Type.Object({ at: Type.String({ maxLength: 40 }), target: Type.String({ maxLength: 1_024 }), caller: Type.String({ maxLength: 512 }), code: Type.String({ maxLength: 32 }), reason: Type.String({ maxLength: 2_048 }) }),
});
export type RefusalReport = Static<typeof RefusalSchema>;

export type FromCloud = GatewayGoal;
export type FromEdge = GatewayStatus | RefusalReport;

const FromEdgeSchema = Type.Union([StatusSchema, RefusalSchema]);

function decode<T>(schema: TSchema, line: string): T {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    throw new MeshError('invalid', 'control message: not JSON', { cause: error });
  }
  if (problemsOf(schema, value).length > 0) throw new MeshError('invalid', 'control message: not of a form that this version knows');
  return value as T;
}

export const decodeGoal = (line: string): GatewayGoal => decode(GoalSchema, line);
export const decodeFromEdge = (line: string): FromEdge => decode(FromEdgeSchema, line);

const MAX_LINE = 8_388_608;

/** JSON lines over a stream. */
export class ControlStream {
  readonly #stream: MuxStream;

  constructor(stream: MuxStream, onLine: (line: string) => void) {
    this.#stream = stream;
    let text = '';
    stream.attach({
      data: (bytes) => {
        stream.consumed(bytes.length);
        text += bytes.toString('latin1');
        for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
          const line = Buffer.from(text.slice(0, end), 'latin1').toString('utf8');
          text = text.slice(end + 1);
          onLine(line);
        }
        if (text.length > MAX_LINE) stream.reset('limit', 'a control message is too long');
      },
      end: () => stream.end(),
      reset: () => undefined,
      drain: () => undefined,
    });
  }

  send(message: FromCloud | FromEdge): void {
    this.#stream.write(Buffer.from(`${JSON.stringify(message)}\n`));
  }
}
