/** What a caller of an HTTP presence hears from the gateways themselves. */
import type { CodeName } from '../mux/frames.ts';

const STATUS: Partial<Record<CodeName, string>> = { malformed: '400 Bad Request', limit: '431 Request Header Fields Too Large', unavailable: '503 Service Unavailable', internal: '500 Internal Server Error', cancelled: '502 Bad Gateway' };

export function answer(code: CodeName, reason: string): Buffer {
  const body = `${JSON.stringify({ error: STATUS[code] === undefined ? 'refused' : 'failed', code, reason })}\n`;
  return Buffer.from(`HTTP/1.1 ${STATUS[code] ?? '403 Forbidden'}\r\ncontent-type: application/json\r\nx-proxima-refused: ${code}\r\nconnection: close\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
}
