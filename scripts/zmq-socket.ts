import { once } from "node:events";
import { connect } from "node:net";

const [MORE, LONG, COMMAND] = [1, 2, 4];

/** A connected ZeroMQ socket. Messages are lists of frames. */
export interface ZmqSocket {
  send(frames: readonly (string | Uint8Array)[]): void;
  close(): void;
}

/**
 * Connects to a ZeroMQ socket on this machine. Implements the part of ZMTP 3.0 that a Jupyter kernel needs.
 *
 * @param type socket type of this end, such as DEALER or SUB
 * @throws the connection's error if nothing listens
 */
export async function connectZmq(
  port: number,
  type: string,
  onMessage: (frames: Buffer[]) => void,
): Promise<ZmqSocket> {
  const socket = connect(port, "127.0.0.1");
  await once(socket, "connect");
  const greeting = Buffer.alloc(64);
  greeting.set([0xff], 0);
  greeting.set([0x7f, 3], 9);
  greeting.write("NULL", 12);
  socket.write(greeting);

  let isReady: () => void;
  const ready = new Promise<void>((resolve) => (isReady = resolve));
  let received = Buffer.alloc(0);
  let greeted = false;
  let frames: Buffer[] = [];
  socket.on("data", (data) => {
    received = Buffer.concat([received, data]);
    if (!greeted) {
      if (received.length < greeting.length) return;
      greeted = true;
      received = received.subarray(greeting.length);
      socket.write(framed(COMMAND, Buffer.concat([Buffer.from("\x05READY"), property("Socket-Type", type)])));
    }
    for (;;) {
      const flags = received[0];
      const head = flags & LONG ? 9 : 2;
      if (received.length < head) return;
      const length = flags & LONG ? Number(received.readBigUInt64BE(1)) : received[1];
      if (received.length < head + length) return;
      const body = Buffer.from(received.subarray(head, head + length));
      received = received.subarray(head + length);
      if (flags & COMMAND) {
        isReady();
        continue;
      }
      frames.push(body);
      if (flags & MORE) continue;
      onMessage(frames);
      frames = [];
    }
  });
  await ready;
  return {
    send(parts) {
      socket.write(Buffer.concat(parts.map((part, i) => framed(i < parts.length - 1 ? MORE : 0, Buffer.from(part)))));
    },
    close: () => void socket.destroy(),
  };
}

function framed(flags: number, body: Buffer): Buffer {
  if (body.length < 256) return Buffer.concat([Buffer.from([flags, body.length]), body]);
  const head = Buffer.alloc(9);
  head[0] = flags | LONG;
  head.writeBigUInt64BE(BigInt(body.length), 1);
  return Buffer.concat([head, body]);
}

function property(name: string, value: string): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(value.length);
  return Buffer.concat([Buffer.from([name.length]), Buffer.from(name), length, Buffer.from(value)]);
}
