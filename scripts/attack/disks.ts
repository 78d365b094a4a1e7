import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** A small disk that can be filled up. */
export interface SmallDisk {
  /** what is full when it is: the disk itself, or a quota on it */
  kind: "disk" | "quota";
  path: string;
  /** Removes all that is on it. */
  clear(): void;
  unmount(): void;
}

const MEGABYTES = 6;
/** btrfs takes no smaller disk. */
const IMAGE_MEGABYTES = 256;

const run = (command: string, ...args: string[]) =>
  execFileSync(command, args, { stdio: ["ignore", "ignore", "pipe"] });

/** @throws where this user may not mount, or a tool is missing */
export function mountDisk(kind: SmallDisk["kind"], folder: string): SmallDisk {
  const mount = join(folder, kind);
  mkdirSync(mount);
  const clear = (path: string) => {
    for (const name of readdirSync(path)) rmSync(join(path, name), { recursive: true, force: true });
  };
  const unmount = () => void run("umount", mount);
  if (kind === "disk") {
    run("mount", "-t", "tmpfs", "-o", `size=${MEGABYTES}m`, "none", mount);
    return { kind, path: mount, clear: () => clear(mount), unmount };
  }
  // a quota that binds root as well: of a subvolume of btrfs
  const image = join(folder, "image");
  writeFileSync(image, "");
  truncateSync(image, IMAGE_MEGABYTES << 20);
  run("mkfs.btrfs", "-q", image);
  run("mount", "-o", "loop", image, mount);
  const path = join(mount, "limited");
  run("btrfs", "subvolume", "create", path);
  run("btrfs", "quota", "enable", mount);
  run("btrfs", "qgroup", "limit", `${MEGABYTES}M`, path);
  // what was removed counts until the next commit
  const clearAndCommit = () => {
    clear(path);
    run("sync", "-f", path);
  };
  return { kind, path, clear: clearAndCommit, unmount };
}
