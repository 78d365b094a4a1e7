import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Project } from "./install.ts";
import { ROOT } from "./pack.ts";
import { type Result, run, tryTo } from "./run.ts";
import type { Tools } from "./tools.ts";

/** One export that each entry must have; null: the entry is a script, which only has to resolve. */
const ENTRIES: Record<string, string | null> = {
  qwench: "loadModel",
  "qwench/platform": "openAdapter",
  "qwench/client": "createTrainer",
  "qwench/widget": "default",
  "qwench/trainer.worker.js": null,
};

/** Dawn's binding only works in Node. Bun imports every entry but does not open an adapter. */
const WITHOUT_GPU = ["Bun"];

const IMPORT = `
const said = {};
for (const [name, wanted] of Object.entries(JSON.parse(process.argv[2]))) {
  try {
    if (wanted && !(wanted in (await import(name)))) throw new Error(\`it exports no \${wanted}\`);
    const address = import.meta.resolve(name);
    said[name] = /\\.js$/.test(address) ? "ok" : address;
  } catch (error) {
    said[name] = error.message;
  }
}
console.log(JSON.stringify(said));
`;

const GENERATE = `
import { fileURLToPath } from "node:url";
import { conversationIds, loadText, prepareText, requestGpu, respond, settingsOf } from "qwench";
import { nodeFolder, openAdapter } from "qwench/platform";
const { adapter } = await openAdapter();
const model = nodeFolder(fileURLToPath(new URL("assets/tiny", import.meta.resolve("qwench/package.json"))));
const sources = { gpu: await requestGpu(adapter), model };
const text = await loadText(await prepareText(sources), sources);
const prompt_ids = conversationIds(text, [{ role: "user", content: "Ann has 2 apples and gets 3. How many has she?" }]);
const settings = settingsOf(text.defaults, { max_new_tokens: 8, temperature: 0 }, 0);
for await (const event of respond(text, [{ prompt_ids }], settings)) {
  if (event.type === "response" && event.made.text.trim()) console.log("ok");
}
process.exit();
`;

/** Imports every entry in every runtime, and runs the program through the package manager. */
export async function checkEntries(projects: readonly Project[], { runtimes }: Tools): Promise<Result[]> {
  const table = "package manager × entry × runtime";
  const results: Result[] = [];
  for (const { name, folder, exec } of projects) {
    writeFileSync(join(folder, "import.js"), IMPORT);
    for (const [runtime, [program, ...flags]] of Object.entries(runtimes)) {
      const js = (...args: string[]) => run(program, [...flags, ...args], { cwd: folder });
      const imported = js("import.js", JSON.stringify(ENTRIES)).then(JSON.parse);
      for (const entry of Object.keys(ENTRIES)) {
        const cell = { table, row: `${name}: \`${entry}\``, column: runtime };
        results.push(await tryTo(cell, async () => okOr((await imported)[entry])));
      }
    }
    const by = { table: "package manager × install", row: name, column: "runs `qwench plan`" };
    results.push(
      await tryTo(by, async () => {
        const said = await run(exec[0], [...exec.slice(1), "qwench", "plan"], { cwd: folder });
        if (!/memory|peak/i.test(said)) throw new Error(said);
        return "ok";
      }),
    );
  }
  return results;
}

/**
 * Generates a few tokens with the library and with the program. Every package manager installs the same files and the same
 * Dawn.
 */
export async function checkPrograms([project]: readonly Project[], { runtimes }: Tools): Promise<Result[]> {
  const results: Result[] = [];
  if (!project) return results;
  const { name, folder } = project;
  writeFileSync(join(folder, "generate.js"), GENERATE);
  for (const [runtime, [program, ...flags]] of Object.entries(runtimes)) {
    if (WITHOUT_GPU.includes(runtime)) continue;
    const js = (...args: string[]) => run(program, [...flags, ...args], { cwd: folder });
    const table = "the embedded model × runtime";
    const library = { table, row: `${name}: a program of the library's`, column: runtime };
    results.push(await tryTo(library, async () => okOr((await js("generate.js")).trim())));
    const cli = { table, row: `${name}: \`qwench generate\``, column: runtime };
    const file = join(folder, "node_modules/qwench/dist/cli.js");
    const args = ["generate", "--max_new_tokens", "8", "How many is 2 and 3?"];
    results.push(await tryTo(cli, async () => ((await js(file, ...args)).trim() ? "ok" : okOr("it wrote nothing"))));
  }
  return results;
}

function okOr(said: string): string {
  if (said !== "ok") throw new Error(said || "it wrote nothing");
  return said;
}

/** The package managers with different layouts of packages. */
const LAYOUTS = ["npm", "pnpm"];

/** Compiles a use of every entry, with library checks, by each TypeScript version and resolution mode. */
export async function checkTypes(projects: readonly Project[], { compilers }: Tools): Promise<Result[]> {
  const results: Result[] = [];
  const names = Object.entries(ENTRIES);
  const use = names.map(([entry, wanted], i) =>
    wanted
      ? `import * as entry${i} from "${entry}"; export const used${i} = entry${i}["${wanted}"];`
      : `import "${entry}";`,
  );
  use.push(`import { requestGpu } from "qwench";
export const open = async (adapter: GPUAdapter): Promise<GPUDevice> => (await requestGpu(adapter)).device;`);
  const resolutions = { NodeNext: "NodeNext", ESNext: "Bundler" };
  for (const { name, folder } of projects.filter((project) => LAYOUTS.includes(project.name))) {
    writeFileSync(join(folder, "use.ts"), use.join("\n"));
    for (const [version, tsc] of Object.entries(compilers)) {
      for (const [module, moduleResolution] of Object.entries(resolutions)) {
        const compilerOptions = { module, moduleResolution, target: "ES2023", strict: true, noEmit: true, types: [] };
        const config = { compilerOptions: { ...compilerOptions, skipLibCheck: false }, files: ["use.ts"] };
        writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(config));
        const cell = {
          table: "package manager × TypeScript, skipLibCheck false",
          row: name,
          column: `${version}, ${moduleResolution}`,
        };
        results.push(
          await tryTo(cell, () => run(process.execPath, [tsc, "-p", "."], { cwd: folder }).then(() => "ok")),
        );
      }
    }
  }
  return results;
}

/** The findings of publint and attw about the tarball. */
export async function lint(tarball: string, tools: Tools): Promise<Result[]> {
  const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
  const with_ = (column: string, args: string[]) =>
    tryTo({ table: "tarball", row: `qwench ${version}`, column }, async () => {
      await run(tools.bin(column), args, { cwd: ROOT });
      return "ok";
    });
  return [
    await with_("publint", ["run", tarball, "--strict"]),
    await with_("attw", [tarball, "--profile", "esm-only"]), // the package is ESM and for resolvers that support exports
  ];
}
