import type { Json } from './definition.ts';
import { MeshError } from './errors.ts';

export function decodeProtobuf(_body: Uint8Array): Json {
  throw new MeshError('unsupported', 'protobuf bodies are not read yet');
}
