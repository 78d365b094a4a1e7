import { METHOD_NAMES } from "../../src/report/names.ts";
import { formatSeconds } from "../../src/text/times.ts";
import { fill, h, setText } from "../dom.ts";
import { comparison } from "../parts/comparison.ts";
import { completions } from "../parts/completions.ts";
import { phaseCharts } from "../parts/run-charts.ts";
import { stages } from "../parts/stages.ts";
import { Player } from "../recorded/player.ts";
import { expand, type Recording } from "../recorded/recording.ts";
import { Run } from "../run.ts";
import { answersNow } from "../watch/answers.ts";
import type { ShowView } from "./view.ts";

/** The recorded run plays in about this many seconds. */
const LENGTH = 75;

/** A recording of a real run, for visitors whose browser cannot train. It says so at the top. */
export const recordedView: ShowView = async (_, signal) => {
  const answer = await fetch(new URL("../recorded/run.json", import.meta.url), { signal });
  if (!answer.ok) throw new Error(`The recorded run could not be loaded: the server answered ${answer.status}`);
  const recording = expand((await answer.json()) as Recording);
  const body = h("div", { class: "view run" });
  const speed = Math.max(1, recording.seconds / LENGTH);
  const again = h("button", { type: "button", class: "secondary" }, "Play again");
  const pause = h("button", { type: "button", class: "secondary" }, "Pause");
  const end = h("button", { type: "button", class: "secondary" }, "Skip to the end");
  let life = new AbortController();
  signal.addEventListener("abort", () => life.abort(), { once: true });

  const start = () => {
    life.abort();
    life = new AbortController();
    const run = new Run(structuredClone(recording.record));
    run.activity = "working";
    const player = new Player(recording, speed, (event, ms) => {
      run.take(event, ms);
      if (event.type === "end") run.activity = "idle";
    });
    const show = () => {
      pause.hidden = end.hidden = player.over;
      setText(pause, player.playing ? "Pause" : "Play");
    };
    pause.onclick = () => {
      if (player.playing) player.pause();
      else player.play();
      show();
    };
    end.onclick = () => {
      player.finish();
      show();
    };
    run.watch(life.signal, show);
    life.signal.addEventListener("abort", () => player.pause(), { once: true });
    fill(body, heading(recording, speed, [pause, end, again]), ...parts(run, life.signal));
    player.play();
    show();
  };
  again.addEventListener("click", start);
  start();
  return { title: "A recorded run", element: body };
};

function heading(
  { device, software, recorded, seconds }: Recording,
  speed: number,
  buttons: HTMLElement[],
): HTMLElement {
  const where = `${device}${software ? ", a software adapter on a CPU" : ""}`;
  const fast = speed > 1.5 ? `, which is ${Math.round(speed)} times as fast as it was` : "";
  return h(
    "header",
    { class: "run-header" },
    h("div", { class: "heading" }, h("h1", {}, "A recorded run"), h("span", { class: "status" }, "recording")),
    h(
      "p",
      { class: "about" },
      `A real run of the embedded model, recorded on ${recorded} on ${where}, where it took ${formatSeconds(seconds)}. `,
      `It plays in about ${formatSeconds(Math.min(LENGTH, seconds))}${fast}. Nothing is computed here.`,
    ),
    h("div", { class: "row" }, h("div", { class: "actions" }, ...buttons)),
  );
}

/** What a run's own page shows, and the result below it. */
function parts(run: Run, signal: AbortSignal): HTMLElement[] {
  const charts = h("div");
  let shown = -1;
  run.watch(signal, () => {
    const { phase, phases } = run.record;
    if (phase === shown || run.plans[phase] === null) return;
    shown = phase;
    fill(
      charts,
      ...Array.from({ length: phase + 1 }, (_, i) => phase - i).map((i) =>
        h("section", { class: "curves" }, h("h2", {}, METHOD_NAMES[phases[i].method]), phaseCharts(run, i, signal)),
      ),
    );
  });
  const result = comparison(run, signal);
  run.watch(signal, () => (result.hidden = run.record.evaluations.length === 0));
  return [stages(run, signal, null), answersNow(run, signal), charts, completions(run, signal), result];
}
