/** Milliseconds of sleep per turn of the event loop, at first and later. */
const SHORT = 0.1;
const LONG = 2;
const SHORT_TURNS = 50;

/**
 * Slows the event loop down while something waits for the GPU.
 *
 * Dawn's Node binding polls for finished work once per turn of the loop. A spinning loop takes a whole core from a software
 * adapter and creates about 25 MB/s of garbage. A short sleep per turn hardly delays a long wait.
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
