/**
 * Starts counting the processor time of this process; returns the seconds since then.
 *
 * Limits count processor time, not wall-clock time, because other programs hardly affect it. An endless wait uses none:
 * the test's own time limit finds it.
 */
export function cpuTime(): () => number {
  const start = process.cpuUsage();
  return () => {
    const { user, system } = process.cpuUsage(start);
    return (user + system) / 1e6;
  };
}
