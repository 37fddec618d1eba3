import { memoryClient } from '../kit/memory-client.ts';
import { clientContract } from './client.ts';

clientContract('in memory', () => memoryClient());
