import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Project } from "./install.ts";
import { ROOT } from "./pack.ts";
import { type Result, run, tryTo } from "./run.ts";
import type { Tools } from "./tools.ts";

/** What each entry must give, by a name of it; null: a script of its own, which is only found. */
const ENTRIES: Record<string, string | null> = {
  qwench: "loadModel",
  "qwench/platform": "openAdapter",
  "qwench/client": "createTrainer",
  "qwench/widget": "default",
  "qwench/trainer.worker.js": null,
};

/** Dawn's binding is for Node: Bun imports every entry, and opens no adapter. */
const WITHOUT_GPU = ["Bun"];

const IMPORT = `
const [name, wanted] = process.argv.slice(2);
if (wanted) {
  const names = Object.keys(await import(name));
  if (!names.includes(wanted)) throw new Error(\`\${name} exports \${names}\`);
  console.log("ok");
} else console.log(import.meta.resolve(name).endsWith("/dist/trainer.worker.js") ? "ok" : import.meta.resolve(name));
`;

const GENERATE = `
import { fileURLToPath } from "node:url";
import { conversationIds, loadText, prepareText, requestGpu, respond } from "qwench";
import { nodeFolder, openAdapter } from "qwench/platform";
const { adapter } = await openAdapter();
const model = nodeFolder(fileURLToPath(new URL("assets/tiny", import.meta.resolve("qwench/package.json"))));
const sources = { gpu: await requestGpu(adapter), model };
const text = await loadText(await prepareText(sources), sources);
const prompt_ids = conversationIds(text, [{ role: "user", content: "Ann has 2 apples and gets 3. How many has she?" }]);
for await (const event of respond(text, [{ prompt_ids }], { max_new_tokens: 8, seed: 0, temperature: 0 })) {
  if (event.type === "response" && event.made.text.trim()) console.log("ok");
}
process.exit();
`;

/** Imports every entry in every runtime, and writes a few tokens with the library and with the program. */
export async function checkEntries(projects: readonly Project[], { runtimes }: Tools): Promise<Result[]> {
  const table = "package manager × entry × runtime";
  const results: Result[] = [];
  for (const { name, folder, exec } of projects) {
    writeFileSync(join(folder, "import.js"), IMPORT);
    writeFileSync(join(folder, "generate.js"), GENERATE);
    for (const [runtime, [program, ...flags]] of Object.entries(runtimes)) {
      const js = async (...args: string[]) => {
        const said = (await run(program, [...flags, ...args], { cwd: folder })).trim();
        if (said !== "ok") throw new Error(said || "it wrote nothing");
        return said;
      };
      for (const [entry, wanted] of Object.entries(ENTRIES)) {
        const cell = { table, row: `${name}: \`${entry}\``, column: runtime };
        results.push(await tryTo(cell, () => js("import.js", entry, wanted ?? "")));
      }
      if (WITHOUT_GPU.includes(runtime)) continue;
      const library = { table, row: `${name}: a program that generates`, column: runtime };
      results.push(await tryTo(library, () => js("generate.js")));
      const cli = { table, row: `${name}: \`qwench generate\``, column: runtime };
      const file = join(folder, "node_modules/qwench/dist/cli.js");
      const args = ["generate", "--max_new_tokens", "8", "How many is 2 and 3?"];
      results.push(
        await tryTo(cli, async () => {
          const said = await run(program, [...flags, file, ...args], { cwd: folder });
          if (!said.trim()) throw new Error("it wrote nothing");
          return "ok";
        }),
      );
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

/** Compiles a use of every entry with libraries checked too, by each TypeScript and way of resolving. */
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
  for (const { name, folder } of projects) {
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

/** What publint and attw say of the tarball. */
export async function lint(tarball: string, tools: Tools): Promise<Result[]> {
  const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
  const with_ = (column: string, args: string[]) =>
    tryTo({ table: "tarball", row: `qwench ${version}`, column }, async () => {
      await run(tools.bin(column), args, { cwd: ROOT });
      return "ok";
    });
  return [
    await with_("publint", ["run", tarball, "--strict"]),
    await with_("attw", [tarball, "--profile", "esm-only"]), // it is ESM, and for resolvers that know exports
  ];
}
