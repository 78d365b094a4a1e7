import { expose } from "comlink";
import { installTransfers } from "../src/client/wire.ts";
import { TrainerSession } from "./session/trainer.ts";

installTransfers();
expose(new TrainerSession());
