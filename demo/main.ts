import { createTrainer } from "../src/client.ts";
import { showPage } from "./page.ts";

document.querySelector("#unloaded")!.remove(); // what stands there where no script of the page loads
showPage(document.querySelector("#page")!, () => createTrainer());
