#!/usr/bin/env node
// Stands in for the CNI plugin in tests of the agent: carries environment and standard input to the agent's socket, and its answer back.
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
const config = JSON.parse(readFileSync(0, 'utf8'));
const env = Object.fromEntries(Object.entries(process.env).filter(([k]) => k.startsWith('CNI_')));
const socket = connect(config.socket, () => socket.write(`${JSON.stringify({ env, config })}\n`));
let reply = '';
socket.on('data', (d) => (reply += d));
socket.on('error', (e) => { reply = JSON.stringify({ cniVersion: '0.4.0', code: 11, msg: e.message }); finish(); });
socket.on('end', finish);
function finish() {
  process.stdout.write(reply);
  process.exit(JSON.parse(reply).code === undefined ? 0 : 1);
}
