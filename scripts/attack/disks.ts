import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** A small disk for tests that fill it. */
export interface SmallDisk {
  /** whether the disk or a quota on it fills up */
  kind: "disk" | "quota";
  path: string;
  /** Deletes its contents. */
  clear(): void;
  unmount(): void;
}

const MEGABYTES = 6;
/** The smallest disk that btrfs supports. */
const IMAGE_MEGABYTES = 256;

const run = (command: string, ...args: string[]) =>
  execFileSync(command, args, { stdio: ["ignore", "ignore", "pipe"] });

/** @throws if this user may not mount, or a tool is missing */
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
  // the quota of a btrfs subvolume, which also applies to root
  const image = join(folder, "image");
  writeFileSync(image, "");
  truncateSync(image, IMAGE_MEGABYTES << 20);
  run("mkfs.btrfs", "-q", image);
  run("mount", "-o", "loop", image, mount);
  const path = join(mount, "limited");
  run("btrfs", "subvolume", "create", path);
  run("btrfs", "quota", "enable", mount);
  run("btrfs", "qgroup", "limit", `${MEGABYTES}M`, path);
  // deleted files count until the next commit
  const clearAndCommit = () => {
    clear(path);
    run("sync", "-f", path);
  };
  return { kind, path, clear: clearAndCommit, unmount };
}
