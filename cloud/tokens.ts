/** A file of static bearer tokens, as Kubernetes reads it: `token,user,uid` or `token,user,uid,"group1,group2"`, a line each; `#` begins a comment line. */
import { MeshError } from '../api/errors.ts';
import { identityOfCertificate, type StaticToken } from './apiserver/identity.ts';

const LINE = /^([^,"\s]+),([^,"]+),([^,"]*)(?:,(?:"([^"]*)"|([^",]*)))?$/;
/** Shorter ones can be guessed. */
const MIN_LENGTH = 16;

/** Groups are organizations of a certificate: `tenant:<t>` makes a user of that tenant. A token itself is never in an error. */
export function decodeTokens(text: string, source: string): readonly StaticToken[] {
  const seen = new Set<string>();
  return text.split('\n').flatMap((raw, i) => {
    const line = raw.trim();
    if (line === '' || line.startsWith('#')) return [];
    const at = `${source}:${i + 1}`;
    const [, token = '', user = '', , quoted, bare] = LINE.exec(line) ?? [];
    if (token === '') throw new MeshError('invalid', `${at}: expected token,user,uid,"group,group"`, { fields: { path: at } });
    if (token.length < MIN_LENGTH) throw new MeshError('invalid', `${at}: the token is shorter than ${MIN_LENGTH} characters`, { fields: { path: at }, next: 'openssl rand -hex 32 makes one' });
    if (seen.has(token)) throw new MeshError('invalid', `${at}: the token is there twice`, { fields: { path: at } });
    seen.add(token);
    const groups = (quoted ?? bare ?? '').split(',').map((g) => g.trim()).filter((g) => g !== '');
    return [{ token, identity: identityOfCertificate({ CN: user, O: groups } as never) }];
  });
}
