const two = (n: number) => String(n).padStart(2, "0");

/** A duration for display: `0.3 s`, `8.0 s`, `1 min 05 s`, `2 h 07 min`, `3 d 04 h`; `—` if unknown. */
export function formatSeconds(seconds: number): string {
  if (!Number.isFinite(seconds) || seconds < 0) return "—";
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  const minutes = Math.round(whole / 60);
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
  const hours = Math.round(minutes / 60);
  return `${Math.floor(hours / 24)} d ${two(hours % 24)} h`;
}

/** A time, in ms since 1970, as local time of day, with the date if it is not today. */
export function formatTime(milliseconds: number): string {
  const date = new Date(milliseconds);
  const time = date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const today = date.toDateString() === new Date().toDateString();
  return today ? `today ${time}` : `${date.toLocaleDateString([], { day: "numeric", month: "short" })} ${time}`;
}
