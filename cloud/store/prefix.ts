/** The first key after every key with the prefix; null = no such key, as after 0xff bytes alone. */
export function prefixEnd(prefix: string | Uint8Array): Buffer | null {
  const end = Buffer.from(prefix);
  for (let i = end.length - 1; i >= 0; i--) {
    const byte = end[i] ?? 0xff;
    if (byte === 0xff) continue;
    end[i] = byte + 1;
    return end.subarray(0, i + 1);
  }
  return null;
}
