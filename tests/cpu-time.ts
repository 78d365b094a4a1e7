/**
 * Starts counting the processor time of this process; gives the seconds since then.
 *
 * Limits count these and not the clock's: they are much the same whatever else the machine runs. What waits for ever
 * costs none, and is the test's own time limit to find.
 */
export function cpuTime(): () => number {
  const start = process.cpuUsage();
  return () => {
    const { user, system } = process.cpuUsage(start);
    return (user + system) / 1e6;
  };
}
