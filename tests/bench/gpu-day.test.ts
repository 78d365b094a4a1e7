import { expect, it } from "vitest";
import { type Day, dayPage } from "../../bench/gpu-day-page.ts";

const day: Day = {
  commit: "abc1234",
  date: "2026-01-01T00:00:00.000Z",
  node: "v20.20.2",
  small: false,
  seconds: 61.4,
  parts: [
    {
      name: "products",
      command: "npx tsx bench/main.ts matmul --json",
      seconds: 12.3,
      end: 0,
      rows: [{ what: "x·Wᵀ <b>", median_ms: 1.23456, gflops: null, spread: 0.1 }],
      text: "",
    },
    { name: "doctor", command: "qwench doctor", seconds: 180, end: "stopped after 180 s", rows: [], text: "a < b" },
  ],
};

it("shows each part with its figures, and why one did not end; nothing that a part printed is taken for HTML", () => {
  const page = dayPage(day);
  expect(page).toContain("<h2>products <small>ok, 12 s</small></h2>");
  expect(page).toContain('<td>x·Wᵀ &lt;b&gt;</td><td class="n">1.235</td>');
  expect(page).toContain("not ok: stopped after 180 s, 180 s");
  expect(page).toContain("<pre>a &lt; b</pre>");
  expect(page).not.toContain("small sizes");
  expect(page).not.toContain("spread");
});
