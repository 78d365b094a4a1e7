import { createHash } from "node:crypto";
import { chmodSync, cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { type Result, run, tryTo } from "./run.ts";

// One model, recipe and adapter in environments where programs often fail: unusual paths, read-only homes, few open files, no
// network.

const RECIPE = `model_name_or_path: my model
dataset_name: my rows.jsonl
max_steps: 2
per_device_train_batch_size: 4
learning_rate: 1e-2
lora_dropout: 0
save_strategy: "no"
seed: 7
`;
const NOBODY = 65534;
/** A user without an entry on the machine, as in some clusters' containers. */
const UNKNOWN = 54321;

interface Place {
  name: string;
  /** the working folder; default: a new one */
  folder?: string;
  /** overrides of this process's variables; undefined removes a variable */
  env?: Record<string, string | undefined>;
  /** the user that runs it; needs root */
  user?: number;
  /** shell text before the program */
  shell?: string;
  /** whether the renderer, and so the numbers, differ */
  otherNumbers?: boolean;
}

/** The recipe's result in one environment. */
interface Made {
  /** hash of the trained adapter */
  trained: string;
  /** the model's output with the supplied adapter */
  written: string;
}

/** Trains and generates with the installed package in each environment, and compares with the results in a plain folder. */
export async function checkPlaces(tarball: string, folder: string): Promise<Result[]> {
  chmodSync(folder, 0o755);
  const root = join(folder, "places");
  mkdirSync(root);
  const readOnly = join(root, "read-only home");
  mkdirSync(readOnly);
  chmodSync(readOnly, 0o555);
  const nowhere = join(root, "nowhere");
  const plain = await prepare(tarball, join(root, "plain"));
  // the adapter supplied to every environment
  await qwench(plain, { name: "plain" }, ["sft", "recipe.yaml", "--output_dir", "adapter", "--seed", "1"]);
  const reference = await make(plain, { name: "plain" });

  const odd = await prepare(tarball, join(root, "a path with spaces, #1, 100% & ü"));
  cpSync(join(plain, "adapter"), join(odd, "adapter"), { recursive: true });
  const noDriver = {
    VK_ICD_FILENAMES: undefined,
    VK_DRIVER_FILES: undefined,
    XDG_DATA_DIRS: nowhere,
    XDG_CONFIG_DIRS: nowhere,
    XDG_DATA_HOME: nowhere,
    XDG_CONFIG_HOME: nowhere,
  };
  const noHome = { HOME: undefined, USER: undefined, LOGNAME: undefined, XDG_CACHE_HOME: undefined };
  const places: Place[] = [
    { name: "a path with spaces, `#`, `%` and `ü`", folder: odd },
    { name: "a read-only home", user: NOBODY, env: { HOME: readOnly, XDG_CACHE_HOME: undefined } },
    { name: "no HOME", env: noHome },
    { name: "no HOME, a user that the machine does not know", user: UNKNOWN, env: noHome },
    {
      name: "no driver (SwiftShader, downloaded)",
      env: { ...noDriver, XDG_CACHE_HOME: join(root, "cache") },
      otherNumbers: true,
    },
    { name: "`ulimit -n 24`", shell: "ulimit -n 24" },
  ];
  const table = "place";
  const results: Result[] = [];
  const cells = async (place: Place, folder: string) => {
    let made: Made | null = null;
    const cell = { table, row: place.name };
    const trained = await tryTo({ ...cell, column: "trains the recipe" }, async () => {
      made = await make(folder, place);
      if (place.otherNumbers) return "ok";
      if (made.trained !== reference.trained) throw new Error("another adapter than in a plain folder");
      return "the same adapter";
    });
    results.push(trained);
    if (!made) return;
    const { written } = made as Made;
    results.push(
      await tryTo({ ...cell, column: "generates with the adapter" }, async () => {
        if (written !== reference.written) throw new Error(`${written}, not ${reference.written}`);
        return "the same text";
      }),
    );
  };
  const root_ = process.getuid?.() === 0;
  for (const place of places) {
    if (place.user !== undefined && !root_) {
      const text = "needs root, to run as another user";
      results.push({ table, row: place.name, column: "trains the recipe", ok: false, text });
      continue;
    }
    await cells(place, place.folder ?? (await copyOf(plain, join(root, `place-${results.length}`), place.user)));
  }
  const shared = { XDG_CACHE_HOME: join(root, "shared cache") };
  await Promise.all(
    ["two processes at once, the first", "two processes at once, the second"].map(async (name, i) =>
      cells({ name, env: shared }, await copyOf(plain, join(root, `twin-${i}`))),
    ),
  );
  results.push(...(await checkNetwork(plain, root)));
  return results;
}

/** A project with the package, the model, the rows and the recipe. */
async function prepare(tarball: string, folder: string): Promise<string> {
  mkdirSync(folder);
  writeFileSync(join(folder, "package.json"), '{"private": true, "type": "module"}');
  await run("npm", ["install", tarball], { cwd: folder });
  const tiny = join(folder, "node_modules/qwench/assets/tiny");
  cpSync(tiny, join(folder, "my model"), { recursive: true });
  const rows = readFileSync(join(tiny, "problems/train.jsonl"), "utf8").split("\n").slice(0, 16).join("\n");
  writeFileSync(join(folder, "my rows.jsonl"), rows);
  writeFileSync(join(folder, "recipe.yaml"), RECIPE);
  return folder;
}

/** The same project in another folder, with linked packages. */
async function copyOf(project: string, folder: string, user?: number): Promise<string> {
  cpSync(project, folder, { recursive: true, filter: (path) => path !== join(project, "node_modules") });
  await run("ln", ["-s", join(project, "node_modules"), "node_modules"], { cwd: folder });
  if (user !== undefined) await run("chown", ["-R", `${user}:${user}`, folder], { cwd: folder });
  return folder;
}

async function make(folder: string, place: Place): Promise<Made> {
  await qwench(folder, place, ["sft", "recipe.yaml", "--output_dir", "out #1", "--overwrite_output_dir", "true"]);
  const adapter = readFileSync(join(folder, "out #1/adapter_model.safetensors"));
  const prompt = "Ann has 12 apples and buys 5 more. How many apples does Ann have now?";
  const asked = ["--temperature", "0", "--max_new_tokens", "24", prompt];
  const written = await qwench(folder, place, ["generate", "--model", "my model", "--adapter", "adapter", ...asked]);
  if (!written.trim()) throw new Error("it wrote nothing");
  return { trained: createHash("sha256").update(adapter).digest("hex"), written };
}

/** Runs a project's program in an environment. @returns stdout */
function qwench(folder: string, { env, user, shell = ":" }: Place, args: readonly string[]): Promise<string> {
  const program = [process.execPath, join(folder, "node_modules/qwench/dist/cli.js"), ...args];
  const as = user === undefined ? [] : ["setpriv", `--reuid=${user}`, `--regid=${user}`, "--clear-groups"];
  const command = [...as, "bash", "-c", `${shell}; exec "$@"`, "bash", ...program];
  return run(command[0], command.slice(1), { cwd: folder, env: { ...process.env, ...env } });
}

/**
 * A model in the hub's cache, with a proxy that counts requests: none in offline mode. A run with network access proves that
 * the proxy counts.
 */
async function checkNetwork(project: string, root: string): Promise<Result[]> {
  const asked: string[] = [];
  const proxy = createServer((request, response) => {
    asked.push(request.url ?? "");
    response.writeHead(502).end();
  });
  proxy.on("connect", (request, socket) => {
    asked.push(request.url ?? "");
    socket.end("HTTP/1.1 502 Bad Gateway\r\n\r\n");
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
  const home = join(root, "hf");
  const revision = "0123456789abcdef0123456789abcdef01234567";
  const model = join(home, "hub/models--some--tiny");
  mkdirSync(join(model, "refs"), { recursive: true });
  writeFileSync(join(model, "refs/main"), revision);
  cpSync(join(project, "my model"), join(model, "snapshots", revision), { recursive: true });
  const variables = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "http_proxy",
    "https_proxy",
    "npm_config_proxy",
    "npm_config_https_proxy",
  ];
  const env = {
    ...Object.fromEntries(variables.map((name) => [name, url])),
    NO_PROXY: "",
    no_proxy: "",
    HF_HOME: home,
  };
  const generate = (more: Record<string, string>) => {
    const place = { name: "proxy", env: { ...env, ...more } };
    return qwench(project, place, ["generate", "--model", "some/tiny", "--max_new_tokens", "4", "Hello"]);
  };
  const row = "a proxy that counts";
  try {
    return [
      await tryTo({ table: "network", row, column: "`HF_HUB_OFFLINE=1`, the model in the hub's cache" }, async () => {
        await generate({ HF_HUB_OFFLINE: "1" });
        if (asked.length > 0) throw new Error(`asked for ${asked.join(", ")}`);
        return "0 requests";
      }),
      await tryTo({ table: "network", row, column: "the same, and the network may be asked" }, async () => {
        await generate({}).catch(() => {}); // nothing answers
        if (asked.length === 0) throw new Error("the proxy saw nothing");
        return `${new Set(asked).size} addresses asked by the proxy`;
      }),
    ];
  } finally {
    proxy.close();
    proxy.closeAllConnections();
  }
}
