import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";

export interface Cell {
  id: string;
  cell_type: "code" | "markdown";
  source: string;
  outputs?: { output_type: string; data?: Record<string, string | string[]> }[];
}

/** The address of a file of demo/notebooks. */
export const notebookPath = (name: string) => fileURLToPath(new URL(`../../demo/notebooks/${name}`, import.meta.url));

/** The cells of a notebook of ours, which must be nbformat 4.5. */
export function readNotebook(name: string): Cell[] {
  const notebook = JSON.parse(readFileSync(notebookPath(name), "utf8"));
  expect(notebook).toMatchObject({
    nbformat: 4,
    nbformat_minor: 5,
    metadata: { kernelspec: { name: expect.any(String), display_name: expect.any(String) } },
  });
  const ids = new Set<string>();
  return notebook.cells.map((cell: Omit<Cell, "source"> & Record<string, unknown> & { source: string[] }) => {
    expect(cell.id).toMatch(/^[a-zA-Z0-9_-]{1,64}$/);
    ids.add(cell.id);
    const fields = ["cell_type", "id", "metadata", "source"];
    if (cell.cell_type === "code") fields.push("execution_count", "outputs");
    expect(Object.keys(cell).sort()).toEqual(fields.sort());
    expect(cell.source.every((line, i) => line.endsWith("\n") === i < cell.source.length - 1)).toBe(true);
    expect(ids.size).toBe(notebook.cells.findIndex((other: Cell) => other.id === cell.id) + 1);
    return { ...cell, source: cell.source.join("") };
  });
}
