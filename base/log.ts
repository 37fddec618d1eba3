/** Structured logging. Events are constants, details are fields; keys, tokens and payloads are never logged. */
import { pino } from 'pino';

export type Fields = Readonly<Record<string, unknown>>;

export interface Logger {
  debug(event: string, fields?: Fields): void;
  info(event: string, fields?: Fields): void;
  warn(event: string, fields?: Fields): void;
  error(event: string, fields?: Fields): void;
  child(fields: Fields): Logger;
}

type PinoLike = ReturnType<typeof pino>;

function wrap(p: PinoLike): Logger {
  return {
    debug: (event, fields) => p.debug(fields ?? {}, event),
    info: (event, fields) => p.info(fields ?? {}, event),
    warn: (event, fields) => p.warn(fields ?? {}, event),
    error: (event, fields) => p.error(fields ?? {}, event),
    child: (fields) => wrap(p.child(fields)),
  };
}

/** A JSON-lines logger on standard error, so that standard output stays for results. */
export function createLogger(options: { readonly level?: string; readonly name: string }): Logger {
  return wrap(
    pino(
      { name: options.name, level: options.level ?? 'info', base: null, timestamp: pino.stdTimeFunctions.isoTime, serializers: { err: pino.stdSerializers.err } },
      pino.destination({ dest: 2, sync: true }),
    ),
  );
}

export const silentLogger: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silentLogger,
};
