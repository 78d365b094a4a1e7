import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { brotliDecompressSync } from "node:zlib";
import { readTar } from "../../src/platform/node/swiftshader.ts";

/** Chromium of the npm package, unpacked. */
export interface Chromium {
  executable: string;
  /** for FONTCONFIG_PATH: a machine without fonts still shows text */
  fonts: string;
}

/**
 * Unpacks the Chromium, SwiftShader and fonts that `@sparticuz/chromium` carries into the user's cache folder, once a
 * version. Test files that race for it are safe: each unpacks under a name of its own and renames.
 */
export function unpackChromium(): Chromium {
  const root = dirname(dirname(dirname(createRequire(import.meta.url).resolve("@sparticuz/chromium"))));
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
  const parent = join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "qwench");
  const folder = join(parent, `chromium-${version}`);
  const unpacked = { executable: join(folder, "chromium"), fonts: join(folder, "fonts") };
  if (existsSync(folder)) return unpacked;
  const read = (name: string) => brotliDecompressSync(readFileSync(join(root, "bin", name)));
  mkdirSync(parent, { recursive: true });
  const fresh = mkdtempSync(`${folder}.`);
  try {
    mkdirSync(join(fresh, "fonts"));
    writeFileSync(join(fresh, "chromium"), read("chromium.br"));
    chmodSync(join(fresh, "chromium"), 0o755);
    // Chromium looks for its graphics libraries beside itself.
    for (const [name, bytes] of readTar(read("swiftshader.tar.br"))) writeFileSync(join(fresh, name), bytes);
    for (const [name, bytes] of readTar(read("fonts.tar.br"))) {
      const text = name === "fonts.conf" ? fontsConf(unpacked.fonts) : bytes;
      writeFileSync(join(fresh, "fonts", name), text);
    }
    renameSync(fresh, folder);
  } catch (error) {
    rmSync(fresh, { recursive: true, force: true });
    if (!existsSync(folder)) throw error; // else another process was quicker
  }
  return unpacked;
}

const fontsConf = (folder: string) => `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>/usr/share/fonts</dir>
  <dir>${folder}</dir>
  <cachedir>${folder}/cache</cachedir>
</fontconfig>
`;
