import { describe, expect, it } from "vitest";
import { muonSettings } from "../../src/recipe/optim-args.ts";
import { parseRecipe } from "../../src/recipe/recipe.ts";
import { trlConfig } from "../../src/recipe/trl.ts";

const args = (optim_args: unknown, more = {}) =>
  muonSettings(parseRecipe({ optim: "muon", optim_args, ...more }, "sft").recipe.optim_args);

describe("optim_args of muon", () => {
  it("are torch.optim.Muon's, as text or as a mapping", () => {
    expect(args(null)).toEqual({
      momentum: 0.95,
      nesterov: true,
      ns_steps: 5,
      ns_coefficients: [3.4445, -4.775, 2.0315],
      eps: 1e-7,
      adjust_lr_fn: "match_rms_adamw",
    });
    const text = args("momentum=0.9, nesterov=False,ns_steps=3,adjust_lr_fn=original,eps=1e-6");
    expect(text).toMatchObject({ momentum: 0.9, nesterov: false, ns_steps: 3, adjust_lr_fn: "original", eps: 1e-6 });
    expect(args({ ns_coefficients: [2, -1.5, 0.5] }).ns_coefficients).toEqual([2, -1.5, 0.5]);
    expect(args('{"ns_coefficients": [2, -1.5, 0.5], "nesterov": true}').ns_coefficients).toEqual([2, -1.5, 0.5]);
  });

  it.each<[unknown, string]>([
    ["momentum", "optim_args must be a mapping of names to values, or text such as momentum=0.95,ns_steps=5 or null"],
    ["lr=1", "optim_args takes momentum, nesterov"],
    ["momentum=1", "momentum of optim_args must be a number from 0 to below 1"],
    ["ns_steps=100", "ns_steps of optim_args must be a whole number from 0 to 99"],
    ["nesterov=maybe", "nesterov of optim_args must be true or false"],
    [{ ns_coefficients: [1, 2] }, "ns_coefficients of optim_args must be three numbers"],
    ["adjust_lr_fn=kimi", "adjust_lr_fn of optim_args must be original or match_rms_adamw"],
    ["eps=0", "eps of optim_args must be a number above 0"],
  ])("%j is refused", (given, said) => {
    expect(() => args(given)).toThrow(said);
  });

  it("need optim muon, which TRL does not have", () => {
    expect(() => parseRecipe({ optim_args: "momentum=0.9" }, "sft")).toThrow("optim_args is for optim muon");
    const yaml = "model_name_or_path: a/b\ndataset_name: c\noptim: muon\noptim_args: ns_steps=3\n";
    const config = trlConfig(yaml, { name: "r", method: "sft", source: "here" });
    expect(config).toContain("transformers has no muon");
    expect(config).not.toMatch(/^optim/m);
  });
});
