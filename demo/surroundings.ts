import { formatSeconds } from "../src/text/times.ts";
import type { App } from "./app.ts";

/** Shortest hidden time in milliseconds that is reported. */
const WORTH_SAYING = 10_000;

/** Reports when the machine goes offline, and how a hidden tab affected a run. */
export function watchSurroundings(app: App): void {
  const online = () => {
    if (navigator.onLine) return app.dismiss("offline");
    app.notify({
      id: "offline",
      kind: "info",
      text: "You are offline.",
      todo: "The embedded model and everything in storage still work; downloads wait for the network.",
      link: null,
    });
  };
  addEventListener("online", online);
  addEventListener("offline", online);
  online();

  let hiddenSince: { at: number; steps: number } | null = null;
  document.addEventListener("visibilitychange", () => {
    const run = app.active.value;
    const steps = run?.record.phases.reduce((sum, { global_step }) => sum + global_step, 0) ?? 0;
    if (document.visibilityState === "hidden") {
      hiddenSince = run?.activity === "working" ? { at: Date.now(), steps } : null;
      return;
    }
    const away = hiddenSince;
    hiddenSince = null;
    if (!away || Date.now() - away.at < WORTH_SAYING) return;
    const made = steps - away.steps;
    app.notify({
      id: "hidden",
      kind: "info",
      text: `This tab was hidden for ${formatSeconds((Date.now() - away.at) / 1000)}; ${made} ${made === 1 ? "step was" : "steps were"} made meanwhile.`,
      todo: "Browsers slow hidden tabs down. For full speed, keep this tab visible in its own window.",
      link: null,
    });
  });
}
