// Sliding-window DCT denoising of a part of a plane, in two dispatches so that nothing is scattered: blocks, eight a
// workgroup and eight invocations a block, then pixels, each of which sums over the blocks that cover it in their order.
// Twin: src/engine/cpu/dct_denoise.rs.
#import "shared/part.wgsl"

@group(0) @binding(0) var<uniform> step: Part;
#if GATHER
@group(0) @binding(1) var<storage, read> blocks: array<f32>;                // (blocks, 8, 8), weighted
@group(0) @binding(2) var<storage, read> block_weights: array<f32>;         // (blocks)
@group(0) @binding(3) var<storage, read_write> clean: array<f32>;           // (rows, columns)
#else
@group(0) @binding(1) var<storage, read> noisy: array<f32>;                 // (rows of the blocks, columns)
@group(0) @binding(2) var<storage, read_write> blocks: array<f32>;          // (blocks, 8, 8), weighted
@group(0) @binding(3) var<storage, read_write> block_weights: array<f32>;   // (blocks)
#if PILOT
@group(0) @binding(4) var<storage, read> pilot: array<f32>;                 // as noisy
#endif
#endif

const STRIDE = #{STRIDE}u;

// First row or column of a block: every STRIDE, and the last that fits.
fn begin(block: u32, length: u32) -> u32 {
    return min(block * STRIDE, length - 8u);
}

#if GATHER
// The first block that covers row or column p.
fn first_block(p: u32) -> u32 {
    return (max(p, 7u) - 7u + STRIDE - 1u) / STRIDE;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = (step.first_group + group.x) * 64u + lane;
    if at >= step.hr_rows * step.hr_columns {
        return;
    }
    let r = step.hr_row + at / step.hr_columns;
    let c = at % step.hr_columns;
    var sum = 0.0;
    var weight = 0.0;
    for (var i = first_block(r); i < step.lr_height && begin(i, step.hr_height) <= r; i++) {
        let row = r - begin(i, step.hr_height);
        for (var j = first_block(c); j < step.lr_columns && begin(j, step.hr_columns) <= c; j++) {
            let n = (i - step.lr_row) * step.lr_columns + j;
            sum += blocks[n * 64u + row * 8u + c - begin(j, step.hr_columns)];
            weight += block_weights[n];
        }
    }
    clean[at] = sum / weight;
}
#else
// The orthonormal DCT-II of length 8 by quarters: rows are frequencies.
const LOW_LOW = mat4x4<f32>(
#for C in 0..4
    #{DCT[C]}, #{DCT[8 + C]}, #{DCT[16 + C]}, #{DCT[24 + C]},
#end
);
const LOW_HIGH = mat4x4<f32>(
#for C in 4..8
    #{DCT[C]}, #{DCT[8 + C]}, #{DCT[16 + C]}, #{DCT[24 + C]},
#end
);
const HIGH_LOW = mat4x4<f32>(
#for C in 0..4
    #{DCT[32 + C]}, #{DCT[40 + C]}, #{DCT[48 + C]}, #{DCT[56 + C]},
#end
);
const HIGH_HIGH = mat4x4<f32>(
#for C in 4..8
    #{DCT[32 + C]}, #{DCT[40 + C]}, #{DCT[48 + C]}, #{DCT[56 + C]},
#end
);

// Eight numbers.
struct Line {
    low: vec4<f32>,
    high: vec4<f32>,
}

fn forward(x: Line) -> Line {
    return Line(LOW_LOW * x.low + LOW_HIGH * x.high, HIGH_LOW * x.low + HIGH_HIGH * x.high);
}

fn inverse(y: Line) -> Line {
    return Line(y.low * LOW_LOW + y.high * HIGH_LOW, y.low * LOW_HIGH + y.high * HIGH_HIGH);
}

// Blocks with lines 9 apart: neither rows nor columns meet in one bank.
var<workgroup> turned: array<f32, 576>;
var<workgroup> partial: array<f32, 64>;

// From the columns of a block, an invocation each, to its rows, or back.
fn transpose(first: u32, line: u32, x: Line) -> Line {
#for K in 0..4
    turned[first + #{9 * K}u + line] = x.low[#{K}];
    turned[first + #{9 * K + 36}u + line] = x.high[#{K}];
#end
    workgroupBarrier();
    let at = first + 9u * line;
    let y = Line(
        vec4<f32>(turned[at], turned[at + 1u], turned[at + 2u], turned[at + 3u]),
        vec4<f32>(turned[at + 4u], turned[at + 5u], turned[at + 6u], turned[at + 7u]),
    );
    workgroupBarrier();
    return y;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let block = (step.first_group + group.x) * 8u + lane / 8u;
    let line = lane % 8u;
    // All invocations reach the barriers; those past the last block repeat it.
    let n = min(block, step.lr_rows * step.lr_columns - 1u);
    let top = begin(step.lr_row + n / step.lr_columns, step.hr_height) - begin(step.lr_row, step.hr_height);
    let at = top * step.hr_columns + begin(n % step.lr_columns, step.hr_columns) + line;
    let first = lane / 8u * 72u;
    var x: Line;
#for K in 0..4
    x.low[#{K}] = noisy[at + #{K}u * step.hr_columns];
    x.high[#{K}] = noisy[at + #{K + 4}u * step.hr_columns];
#end
    // Row `line` of the coefficients.
    x = forward(transpose(first, line, forward(x)));
    let mean = x.low.x;
#if PILOT
    var p: Line;
#for K in 0..4
    p.low[#{K}] = pilot[at + #{K}u * step.hr_columns];
    p.high[#{K}] = pilot[at + #{K + 4}u * step.hr_columns];
#end
    p = forward(transpose(first, line, forward(p)));
    var low = p.low * p.low / (p.low * p.low + 1.0);
    let high = p.high * p.high / (p.high * p.high + 1.0);
    x = Line(low * x.low, high * x.high);
#else
    let limit = vec4<f32>(#{THRESHOLD[0]});
    var low = select(vec4<f32>(0.0), vec4<f32>(1.0), abs(x.low) > limit);
    let high = select(vec4<f32>(0.0), vec4<f32>(1.0), abs(x.high) > limit);
    x = Line(low * x.low, high * x.high);
#endif
    if line == 0u {
        x.low.x = mean;
        low.x = 0.0;
    }
    partial[lane] = dot(low, low) + dot(high, high);
    workgroupBarrier();
    var power = 1.0;
    for (var k = 0u; k < 8u; k++) {
        power += partial[lane - line + k];
    }
    x = inverse(transpose(first, line, inverse(x)));
    if block == n {
#for K in 0..4
        blocks[n * 64u + #{8 * K}u + line] = x.low[#{K}] / power;
        blocks[n * 64u + #{8 * K + 32}u + line] = x.high[#{K}] / power;
#end
        if line == 0u {
            block_weights[n] = 1.0 / power;
        }
    }
}
#endif
