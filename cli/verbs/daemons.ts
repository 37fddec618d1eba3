/** region|global|gateway|agent start: the daemons, in the foreground, until SIGTERM or SIGINT. */
import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { MeshError } from '../../api/errors.ts';

interface StartOptions {
  readonly config?: string;
  readonly check?: boolean;
}

function readConfig(path: string | undefined): unknown {
  if (path === undefined) throw new MeshError('invalid', '--config FILE is required', { fields: { path: '--config' } });
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new MeshError('missing-file', `${path}: ${(error as NodeJS.ErrnoException).code === 'ENOENT' ? 'no such file' : (error as Error).message}`, { fields: { path }, cause: error });
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new MeshError('invalid', `${path}: not JSON: ${(error as Error).message}`, { fields: { path }, cause: error });
  }
}

/** Runs until told to stop; a second signal ends at once. */
async function foreground(what: string, start: () => Promise<{ stop(): Promise<void> }>): Promise<void> {
  const running = await start().catch((error: unknown) => {
    // Its error is printed and its code set by then; what a library goes on trying must not hold the process.
    setTimeout(() => process.exit(), 500).unref();
    throw error;
  });
  const told = new Promise<void>((resolve) => {
    let times = 0;
    const onSignal = (): void => {
      times += 1;
      if (times > 1) process.exit(130);
      resolve();
    };
    process.on('SIGTERM', onSignal);
    process.on('SIGINT', onSignal);
  });
  console.log(`${what} is Ready`);
  await told;
  await running.stop();
  process.exit(0); // sockets of peers that went away must not hold it
}

const show = (config: unknown): void => console.log(JSON.stringify(config, null, 2));

function startVerb(parent: Command, description: string): Command {
  return parent.command('start').description(description).option('--config <file>', 'its configuration, JSON').option('--check', 'print the effective configuration and exit');
}

interface RegionOptions extends StartOptions {
  readonly data?: string;
  readonly port?: string;
  readonly kubeconfig?: string;
}

function regionInput(o: RegionOptions): unknown {
  if (o.config !== undefined) return readConfig(o.config);
  if (o.data === undefined) throw new MeshError('invalid', 'expected --config FILE, or --data DIR with --port and --kubeconfig', { fields: { path: '--data' }, next: 'proxima region start --data ./region --port 6443 --kubeconfig ./region.kubeconfig' });
  return { dataDir: o.data, ...(o.port === undefined ? {} : { listen: { port: Number(o.port) } }), ...(o.kubeconfig === undefined ? {} : { kubeconfig: o.kubeconfig }) };
}

export function register(program: Command): void {
  startVerb(program.command('global').description('the global scheduler and its API'), 'run the global scheduler').action(async (o: StartOptions) => {
    const { globalStart } = await import('../../cloud/global.ts');
    const { decodeGlobalConfig } = await import('../../scheduler/global/config.ts');
    const input = readConfig(o.config);
    if (o.check === true) return show(decodeGlobalConfig(input, o.config));
    return foreground('global scheduler', () => globalStart(input, o.config === undefined ? {} : { source: o.config }));
  });
  startVerb(program.command('region').description('a region: API, controllers, network plane'), 'run a region in the foreground; with --data alone: embedded store, no root, no nodes')
    .option('--data <dir>', 'where its data lives')
    .option('--port <port>', 'of the API')
    .option('--kubeconfig <file>', 'where the administrator\'s kubeconfig is written')
    .action(async (o: RegionOptions) => {
      const { regionCheck, regionStart } = await import('../../cloud/main.ts');
      const source = o.config ?? 'region options';
      if (o.check === true) return show(regionCheck(regionInput(o), source));
      return foreground('region', async () => {
        const region = await regionStart(regionInput(o), { source });
        console.log(`API ${region.url}`);
        console.log(`next: kubectl --kubeconfig ${region.kubeconfig} api-resources`);
        return region;
      });
    });
  startVerb(program.command('gateway').description('a gateway: of a region (cloud) or of a site (edge)'), 'run a gateway; its configuration says which kind it is').action(async (o: StartOptions) => {
    const { cloudGatewayStart, decodeCloudConfig, decodeEdgeConfig, edgeGatewayStart } = await import('../../gateway/main.ts');
    const input = readConfig(o.config);
    const isCloud = typeof input === 'object' && input !== null && 'authority' in input;
    if (o.check === true) return show(isCloud ? decodeCloudConfig(input, o.config) : decodeEdgeConfig(input, o.config));
    return foreground(isCloud ? 'cloud gateway' : 'edge gateway', () => (isCloud ? cloudGatewayStart(input) : edgeGatewayStart(input)));
  });
  startVerb(program.command('agent').description('the node agent: pods, VMs, data plane of one node'), 'run the node agent').action(async (o: StartOptions) => {
    const { agentCheck, agentStart } = await import('../../edge/main.ts');
    const input = readConfig(o.config);
    if (o.check === true) return show(agentCheck(input, o.config));
    return foreground('agent', () => agentStart(input, {}, o.config));
  });
}
