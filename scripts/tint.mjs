// Asks Tint, the WGSL compiler of Chromium, by way of Dawn's module for Node, whether it takes every .wgsl file below the
// folders named. Fails with the first messages if it does not.
import { create, globals } from 'webgpu';
import fs from 'node:fs';
import path from 'node:path';

Object.assign(globalThis, globals);
const adapter = await create([]).requestAdapter();
if (!adapter) {
  console.error('tint.mjs: Dawn finds no adapter');
  process.exit(1);
}
const wanted = ['shader-f16'].filter((feature) => adapter.features.has(feature));
const limit = (name) => ({ [name]: adapter.limits[name] });
const device = await adapter.requestDevice({
  requiredFeatures: wanted,
  requiredLimits: { ...limit('maxStorageBuffersPerShaderStage'), ...limit('maxComputeWorkgroupStorageSize') },
});
const files = process.argv.slice(2).flatMap((folder) =>
  fs.readdirSync(folder).filter((name) => name.endsWith('.wgsl')).map((name) => path.join(folder, name)));
let refused = 0;
let asked = 0;
for (const file of files.sort()) {
  const code = fs.readFileSync(file, 'utf8');
  if (code.includes('enable f16;') && !wanted.includes('shader-f16')) continue;
  asked += 1;
  device.pushErrorScope('validation');
  const module = device.createShaderModule({ code });
  const { messages } = await module.getCompilationInfo();
  const error = await device.popErrorScope();
  const wrong = messages.filter((message) => message.type === 'error');
  if (error || wrong.length > 0) {
    refused += 1;
    console.error(file, wrong.slice(0, 3).map((m) => `${m.lineNum}:${m.linePos} ${m.message}`), error?.message ?? '');
  }
}
console.log(`Tint: ${asked} texts, ${refused} refused`);
process.exit(refused > 0 || asked === 0 ? 1 : 0);
