import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { builtinModules } from "node:module";
import { dirname, join, relative } from "node:path";
import { pathToFileURL } from "node:url";
import ts from "typescript";
import { describe, expect, test } from "vitest";
import { ROOT } from "../../scripts/check-package/pack.ts";
import { filesBelow, useInstalled } from "./installed.ts";

const { project, installed, files, manifest, node } = useInstalled();

describe("the tarball", () => {
  test("contains every file of package.json, the embedded model and the recipes, and no sources", () => {
    const paths = Object.values(manifest().exports)
      .flatMap((to) => (typeof to === "string" ? [to] : Object.values(to)))
      .concat(Object.values(manifest().bin));
    for (const path of paths) expect(files()).toContain(path.replace(/^\.\//, ""));
    for (const path of ["README.md", "LICENSE", "assets/tiny/model.safetensors", "recipes/gsm8k-grpo.yaml"]) {
      expect(files()).toContain(path);
    }
    const strange = [...files()].filter(
      (path) => !/^(dist|assets\/tiny|recipes)\/|^(README\.md|LICENSE|package\.json)$/.test(path),
    );
    expect(strange).toEqual([]);
    expect([...files()].filter((path) => /(?<!\.d)\.ts$/.test(path))).toEqual([]);
  });

  test("has exactly the exports of the sources", async () => {
    const sources = {
      qwench: "src/index.ts",
      "qwench/client": "src/client.ts",
      "qwench/platform": "src/platform/headless.ts",
    };
    const script = `
      const found = {};
      for (const name of ${JSON.stringify([...Object.keys(sources), "qwench/widget"])}) found[name] = Object.keys(await import(name));
      console.log(JSON.stringify(found));
    `;
    writeFileSync(join(project, "names.js"), script);
    const found = JSON.parse(node("names.js"));
    for (const [name, path] of Object.entries(sources)) {
      const source = await import(pathToFileURL(join(ROOT, path)).href);
      expect(found[name].sort(), name).toEqual(Object.keys(source).sort());
    }
    expect(found["qwench/widget"]).toEqual(["default"]);
  });

  test("imports exactly its dependencies", () => {
    const used = new Set<string>();
    for (const path of files()) {
      if (!/^dist\/[^/]+\.js$|^dist\/types\/.*\.d\.ts$/.test(path)) continue;
      const text = readFileSync(join(installed, path), "utf8");
      const { importedFiles, typeReferenceDirectives } = ts.preProcessFile(text, true, true);
      const names = [...importedFiles, ...typeReferenceDirectives]
        .map(({ fileName }) => fileName.match(/^(?:@[\w-]+\/)?[\w-]+/)?.[0] ?? "")
        .concat([...text.matchAll(/\brequire\.resolve\(`([\w-]+)\//g)].map(([, name]) => name)); // pyodide: its files
      for (const name of names) if (name && !name.startsWith("node") && !builtinModules.includes(name)) used.add(name);
    }
    used.delete("@napi-rs/canvas"); // pdf.js draws with it where it is installed; only text is read here
    expect([...used].sort()).toEqual(Object.keys(manifest().dependencies).sort());
  });

  test("runs as a program, with its recipes", () => {
    expect(node(join(installed, manifest().bin.qwench), "recipe")).toContain("gsm8k-grpo-0.5b");
    expect(node(join(installed, manifest().bin.qwench), "plan")).toMatch(/peak|memory/i);
  });

  test("createTrainer() on a server says that it needs a page", () => {
    writeFileSync(
      join(project, "server.js"),
      `import { createTrainer } from "qwench/client"; try { createTrainer(); } catch (error) { console.log(error.message); }`,
    );
    expect(node("server.js")).toMatch(/^Cannot make a trainer here: createTrainer\(\) needs a browser page/);
  });
});

describe("documentation of the package", () => {
  const texts = ["README.md", "CONTRIBUTING.md", "demo/notebooks", "docs", "examples"]
    .map((path) => join(ROOT, path))
    .filter((path) => existsSync(path))
    .flatMap((path) => (/\.md$/.test(path) ? [path] : filesBelow(path).map((name) => join(path, name))))
    .filter((path) => /\.(md|ipynb|html|m?js|ts|json)$/.test(path))
    .map((path) => [relative(ROOT, path), readFileSync(path, "utf8").replaceAll('\\"', '"')] as const);

  /** Whether a path of the package is a file, or a folder that ends with a slash and is not empty. */
  const isThere = (path: string) =>
    files().has(path) || ((path === "" || path.endsWith("/")) && [...files()].some((file) => file.startsWith(path)));

  test("addresses on a CDN lead to files of the tarball, and to this version", () => {
    let seen = 0;
    for (const [name, text] of texts) {
      for (const [address, version, path] of text.matchAll(
        /https:\/\/(?:cdn\.jsdelivr\.net\/npm|unpkg\.com|esm\.sh)\/qwench(@[^/\s"'`)]+)?\/?([^\s"'`)*\\]*)/g,
      )) {
        seen++;
        expect(version ?? `@${manifest().version}`, `${name}: ${address}`).toBe(`@${manifest().version}`);
        expect(isThere(path), `${name}: ${address}`).toBe(true);
      }
    }
    expect(seen).toBeGreaterThan(2);
  });

  test("imports of qwench are exports, and paths in the package are there", () => {
    let seen = 0;
    for (const [name, text] of texts) {
      for (const [, subpath] of text.matchAll(/\b(?:from|import|import\()\s*["']qwench((?:\/[\w.-]+)*)["']/g)) {
        seen++;
        expect(Object.keys(manifest().exports), name).toContain(`.${subpath}`);
      }
      if (name.startsWith("examples/bundlers")) continue; // its dist/ is its own
      for (const [, path] of text.matchAll(/["'`(/]((?:dist|assets\/tiny|recipes)\/[\w./-]+)["'`)]/g)) {
        seen++;
        expect(isThere(path) || isThere(`${path}/`), `${name}: ${path}`).toBe(true);
      }
    }
    expect(seen).toBeGreaterThan(5);
  });

  test("links lead to files of the repository", () => {
    for (const [name, text] of texts.filter(([path]) => path.endsWith(".md"))) {
      for (const [, link] of text.matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)/g)) {
        expect(existsSync(join(ROOT, dirname(name), link)), `${name}: ${link}`).toBe(true);
      }
    }
  });
});
