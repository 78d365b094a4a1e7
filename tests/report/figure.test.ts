import { expect, test } from "vitest";
import { renderFigure } from "../../src/report/figure.ts";

test("a figure stands alone, tells the newest values, and shows text as text", () => {
  const svg = renderFigure({
    title: `Loss <script>"`,
    logs: [
      { step: 1, loss: 2 },
      { step: 2, loss: 1.5, eval_loss: 1.75 },
      { step: 3, loss: Number.NaN },
    ],
    names: { loss: "train", eval_loss: "held out" },
  });
  expect(svg).toMatch(/^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg" [^>]*width="520"/);
  expect(svg).toContain("Loss &lt;script&gt;&quot;");
  expect(svg).not.toContain("<script");
  expect(svg).toMatch(/train 1\.5[^0-9]/);
  expect(svg).toMatch(/held out 1\.75/);
  expect(svg.match(/<path class="line/g)).toHaveLength(2);
  expect(svg.match(/<(\w+)[^>]*>/g)!.filter((tag) => !tag.endsWith("/>"))).toHaveLength(svg.match(/<\/\w+>/g)!.length);
});
