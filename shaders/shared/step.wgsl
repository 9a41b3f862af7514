// What changes from step to step; twin of `StepUniform` in src/engine/gpu/step.rs.
struct Step {
    key: vec2<u32>,          // seed of the random numbers
    step: u32,               // number of the step, the counter of its random numbers
    member: u32,             // member that the HR pass draws from
    lr_first: u32,           // first window of the LR batch in `batch`
    lr_count: u32,           // LR pixels
    hr_first: u32,           // first window of the HR batch in `batch`
    hr_count: u32,           // HR windows
    slot: u32,               // row of `losses`
    update_network: u32,     // 0: gradient alone
    network_step: f32,       // Adam's rate / (1 - b1^t) for the network
    network_root: f32,       // Adam's 1 / sqrt(1 - b2^t) for the network
    degradation_step: f32,   // the same two for the degradation
    degradation_root: f32,
    lr_scale: f32,           // beta / (LR pixels * bands)
    blur_scale: f32,         // 1 / elements of terms 1, 2, 3
    response_scale: f32,
    observation_scale: f32,
    alpha_blur: f32,         // weights of terms 1, 2, 3
    alpha_response: f32,
    alpha_observation: f32,
    zero: u32,               // 0, see shared/start.wgsl
    index: u32,              // number of this step among the queued ones
    run: u32,                // steps that `lr_steps` takes from here on
    first_group: u32,        // workgroup that a dispatch begins with, of those that are needed: a long one is cut
}
