import { spawn } from "node:child_process";
import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { NotFoundError } from "../../errors.ts";
import { type CliFlag, type ParsedArgs, UsageError } from "../args.ts";
import { interruptible } from "../terminal/interrupt.ts";
import { RunFolders } from "../ui/folders.ts";
import { serveUi } from "../ui/server.ts";

export const UI_FLAGS: CliFlag[] = [
  { name: "port", type: "string", value: "INT", help: "Port on this machine (default: any free one)." },
  { name: "open", type: "boolean", help: "Open the page in the browser." },
];

/** `qwench ui`: shows the runs in some folders in a page, live, until Ctrl-C. @returns the exit code */
export function runUi({ positional, flags }: ParsedArgs): Promise<number> {
  const port = flags.port === undefined ? 0 : Number(flags.port);
  if (!Number.isInteger(port) || port < 0 || port > 65535)
    throw new UsageError(`--port must be an integer from 0 to 65535, got ${flags.port}`);
  const roots = positional.length > 0 ? positional : ["."];
  for (const root of roots) {
    if (!existsSync(root)) throw new NotFoundError(`Cannot show ${root}: there is no such folder`);
    if (!statSync(root).isDirectory())
      throw new NotFoundError(`Cannot show ${root}: it is a file; name the output_dir of a run, or a folder of them`);
  }
  const script = readFileSync(uiScript(), "utf8");
  return interruptible(async (signal) => {
    const server = await serveUi(new RunFolders(roots), { port, script });
    console.log(server.url);
    console.error(`Shows the runs in ${roots.join(", ")}. Ctrl-C ends it.`);
    if (flags.open) openPage(server.url);
    await new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
    await server.close();
    return 0;
  }, "");
}

/** The page's script, beside the built `dist/cli.js`, or built from the source tree. @throws {NotFoundError} */
export function uiScript(from: string = import.meta.url): string {
  const tried = [".", "../../../dist"].map((up) => join(fileURLToPath(new URL(`${up}/`, from)), "ui.js"));
  const found = tried.find((file) => existsSync(file));
  if (found) return found;
  throw new NotFoundError(
    `Cannot find the page: there is no ${tried.join(" or ")}. In a clone, npm run build makes it`,
  );
}

/** Opens an address in the user's browser, if there is a program for that. */
function openPage(url: string): void {
  const [command, ...args] =
    process.platform === "darwin"
      ? ["open", url]
      : process.platform === "win32"
        ? ["cmd", "/c", "start", "", url.replaceAll("&", "^&")]
        : ["xdg-open", url];
  const child = spawn(command, args, { stdio: "ignore", detached: true });
  child.on("error", () => console.error("note: no program here opens pages; open the address yourself"));
  child.unref();
}
