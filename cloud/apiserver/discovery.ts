import type { FastifyReply, FastifyRequest } from 'fastify';
import type { KindDefinition } from '../../api/definition.ts';
export class Discovery {
  constructor(_kinds: readonly KindDefinition[]) {}
  serve(_path: string, _request: FastifyRequest, reply: FastifyReply): void {
    reply.code(404).send('');
  }
}
