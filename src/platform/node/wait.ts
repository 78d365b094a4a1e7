/** Milliseconds that the event loop sleeps a turn, at first and after a while. */
const SHORT = 0.1;
const LONG = 2;
const SHORT_TURNS = 50;

/**
 * Slows the event loop down while something waits for the GPU.
 *
 * Dawn's Node binding polls for finished work once a turn of the loop and lets it spin: a whole core burns, which a
 * software adapter would have computed with, and some 25 MB/s of garbage. A short sleep a turn costs a long wait nothing.
 */
export function calmWaiting(): { begin(): void; end(): void } {
  const cell = new Int32Array(new SharedArrayBuffer(4));
  let waits = 0;
  let turns = 0;
  let running = false;
  const turn = () => {
    if (waits === 0) {
      running = false;
      return;
    }
    Atomics.wait(cell, 0, 0, turns++ < SHORT_TURNS ? SHORT : LONG);
    setImmediate(turn);
  };
  return {
    begin() {
      if (waits++ === 0) turns = 0;
      if (running) return;
      running = true;
      setImmediate(turn);
    },
    end() {
      waits--;
    },
  };
}
