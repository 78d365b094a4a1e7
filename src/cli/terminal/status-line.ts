/** One line on stderr that each call overwrites; null ends it. Does nothing if stderr is not a terminal. */
export function statusLine(): (line: string | null) => void {
  let drawn = 0;
  return (line) => {
    if (!process.stderr.isTTY) return;
    if (line === null) {
      if (drawn > 0) process.stderr.write(`\r${" ".repeat(drawn)}\r`);
      drawn = 0;
      return;
    }
    const cut = line.slice(0, (process.stderr.columns || 80) - 1);
    process.stderr.write(`\r${cut.padEnd(drawn)}`);
    drawn = cut.length;
  };
}
