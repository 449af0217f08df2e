// A server that a script can start, kill, freeze and start again at the same address.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

const READY = /is ready: (http:\S+)/;

export class Server {
  #flags;
  #process = null;
  /** URL of the server's page, the same after each start. */
  base = '';

  /**
   * - `flags`: further flags of `mixminus serve`. The environment variable MIXMINUS names the
   *   binary.
   */
  constructor(flags = []) {
    this.#flags = flags;
  }

  async start() {
    // Port 0 at first, then the port that the server got: pages reconnect to the address that they
    // know.
    const http = this.base ? new URL(this.base).host : '127.0.0.1:0';
    const addresses = ['--http', http, '--media', '127.0.0.1:0'];
    const child = spawn(process.env.MIXMINUS, ['serve', ...addresses, ...this.#flags], { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#process = child;
    for await (const line of createInterface({ input: child.stdout })) {
      const ready = line.match(READY);
      if (!ready) continue;
      this.base = ready[1];
      child.stdout.resume();
      return this;
    }
    throw new Error('the server does not start');
  }

  /** Kills the server, as a power cut does. */
  async kill() {
    const child = this.#process;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }

  /** Freezes the server, as a dead network does: connections stay open. */
  freeze() {
    this.#process.kill('SIGSTOP');
  }

  thaw() {
    this.#process.kill('SIGCONT');
  }

  /** Sends a request to the API; returns the status. */
  async ask(method, path, body) {
    const response = await fetch(new URL(path, this.base), {
      method,
      headers: { 'Content-Type': 'application/json' },
      body: body && JSON.stringify(body),
    });
    return response.status;
  }
}
