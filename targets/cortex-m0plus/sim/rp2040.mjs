// Runs a firmware on rp2040js, which knows the RP2040's cycles, and serves its semihosting calls.
//
//     node rp2040.mjs PACKAGES ELF begin=A end=A mark=A first=A last=A        (A: addresses)
//
// PACKAGES is the folder that holds node_modules/rp2040js. Files are opened in the working directory;
// records go to standard error, one per line. Instructions in first <= pc < last (the harness) do not count.
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

const [packages, image, ...settings] = process.argv.slice(2);
const { RP2040 } = createRequire(path.join(path.resolve(packages), 'x.js'))('rp2040js');
const at = Object.fromEntries(settings.map(text => [text.split('=')[0], Number(text.split('=')[1])]));
const FLASH = 0x10000000, SRAM = 0x20000000, NS_PER_CYCLE = 8;
const SYS = { OPEN: 1, CLOSE: 2, WRITE0: 4, WRITE: 5, READ: 6, EXIT_EXTENDED: 0x20 };

const mcu = new RP2040();
const core = mcu.core;
let stopped = false, watched = false, pending = '';

function fault(why) {
  process.stderr.write(`state name=fault why=${why} pc=0x${core.PC.toString(16)}\n`);
  process.exit(1);
}

// What the chip would fault at, the simulator only logs; before the first bracket a log is mere start-up.
const complain = (name, message) => { if (watched) fault(`${name}:${message}`.replace(/\s+/g, '_')); };
mcu.logger = { debug() {}, info() {}, warn: complain, error: complain };

function load(elf) {
  const table = elf.readUInt32LE(28), entries = elf.readUInt16LE(44);
  for (let i = 0; i < entries; i++) {
    const word = k => elf.readUInt32LE(table + 32 * i + 4 * k);
    const [type, offset, , address, bytes] = [0, 1, 2, 3, 4].map(word);
    if (type === 1 && bytes) mcu.flash.set(elf.subarray(offset, offset + bytes), address - FLASH);
  }
  core.VTOR = FLASH;
  core.SP = mcu.readUint32(FLASH);
  core.PC = mcu.readUint32(FLASH + 4) & ~1;
}

const ram = (from, bytes) => mcu.sram.subarray(from - SRAM, from - SRAM + bytes);
const bytesAt = (from, bytes) => from >= SRAM ? ram(from, bytes) : mcu.flash.subarray(from - FLASH, from - FLASH + bytes);

function text(from) {
  let out = '';
  for (let c; (c = mcu.readUint8(from)); from++) out += String.fromCharCode(c);
  return out;
}

function semihost(operation, block) {
  const word = k => mcu.readUint32(block + 4 * k);
  switch (operation) {
    case SYS.OPEN: return fs.openSync(text(word(0)), word(1) >= 4 ? 'w' : 'r');
    case SYS.CLOSE: fs.closeSync(word(0)); return 0;
    case SYS.READ: return word(2) - fs.readSync(word(0), ram(word(1), word(2)));
    case SYS.WRITE: return word(2) - fs.writeSync(word(0), bytesAt(word(1), word(2)));
    case SYS.WRITE0: pending += text(block); return 0;
    case SYS.EXIT_EXTENDED: stopped = true; process.exitCode = word(1); return 0;
    default: return fault(`semihosting_${operation}`);
  }
}

mcu.onBreak = number => {
  if (number !== 0xab) fault('breakpoint');
  core.registers[0] = semihost(core.registers[0], core.registers[1]);
};

let instructions = 0, cycles = 0, start, last, nodes;
const now = () => ({ instructions, cycles });
const since = then => `instructions=${instructions - then.instructions} cycles=${cycles - then.cycles}`;

function onHarness(pc) {
  if (pc === at.begin) {
    watched = true;
    start = last = now();
    nodes = new Map();
  } else if (pc === at.mark) {
    const node = core.registers[0], sum = nodes.get(node) ?? { times: 0, instructions: 0, cycles: 0 };
    sum.times++;
    sum.instructions += instructions - last.instructions;
    sum.cycles += cycles - last.cycles;
    nodes.set(node, sum);
    last = now();
  } else if (pc === at.end) {
    for (const [node, sum] of nodes)
      pending += `mark node=${node} times=${sum.times} instructions=${sum.instructions} cycles=${sum.cycles}\n`;
    pending += `bracket ${since(start)}\n`;
  }
}

load(fs.readFileSync(image));
while (!stopped) {
  const pc = core.PC;
  if (pc >= at.first && pc < at.last) {
    onHarness(pc);
    mcu.clock.tick(core.executeInstruction() * NS_PER_CYCLE);
  } else {
    const spent = core.executeInstruction();
    cycles += spent;
    instructions++;
    mcu.clock.tick(spent * NS_PER_CYCLE);
  }
  if (core.waiting) fault('waits_for_an_interrupt');
}
process.stderr.write(pending);
