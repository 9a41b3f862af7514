// Compiles compute shaders (SPIR-V files) with a Vulkan driver and prints what it says of them, a line of JSON each:
// registers, spills, shared memory, instructions, and the milliseconds that compiling took. Nothing runs, so Mesa's RADV
// without a card will do. For scripts/shader_stats.sh.
//
//   cc scripts/shader_stats.c -lvulkan -o shader_stats && ./shader_stats a.spv b.spv ...
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <vulkan/vulkan.h>

#define BINDINGS 16

static void check(VkResult result, const char *what) {
    if (result < 0) {
        fprintf(stderr, "shader_stats: %s: error %d\n", what, result);
        exit(1);
    }
}

static int has_extension(VkPhysicalDevice adapter, const char *name) {
    uint32_t count = 0;
    vkEnumerateDeviceExtensionProperties(adapter, NULL, &count, NULL);
    VkExtensionProperties *all = calloc(count, sizeof *all);
    vkEnumerateDeviceExtensionProperties(adapter, NULL, &count, all);
    int found = 0;
    for (uint32_t i = 0; i < count; i++)
        found |= !strcmp(all[i].extensionName, name);
    free(all);
    return found;
}

static VkPhysicalDevice adapter_of(VkInstance instance) {
    uint32_t count = 1;
    VkPhysicalDevice adapter;
    check(vkEnumeratePhysicalDevices(instance, &count, &adapter), "adapters");
    if (!count) {
        fprintf(stderr, "shader_stats: no adapter\n");
        exit(1);
    }
    return adapter;
}

// With robust buffer access, which is how wgpu opens devices.
static VkDevice open_device(VkPhysicalDevice adapter) {
    const char *extensions[2] = {"VK_KHR_pipeline_executable_properties"};
    uint32_t count = 1;
    VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR statistics = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR,
        .pipelineExecutableInfo = 1};
    VkPhysicalDeviceRobustness2FeaturesEXT robust = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ROBUSTNESS_2_FEATURES_EXT, .robustBufferAccess2 = 1};
    VkPhysicalDeviceVulkan12Features twelve = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES};
    VkPhysicalDeviceVulkan11Features eleven = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES, .pNext = &twelve};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &eleven};
    vkGetPhysicalDeviceFeatures2(adapter, &features);
    twelve.pNext = &statistics;
    if (has_extension(adapter, "VK_EXT_robustness2")) {
        extensions[count++] = "VK_EXT_robustness2";
        statistics.pNext = &robust;
    }
    float priority = 1;
    VkDeviceQueueCreateInfo queue = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO, .queueCount = 1, .pQueuePriorities = &priority};
    VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                               .pNext = &features,
                               .queueCreateInfoCount = 1,
                               .pQueueCreateInfos = &queue,
                               .enabledExtensionCount = count,
                               .ppEnabledExtensionNames = extensions};
    VkDevice device;
    check(vkCreateDevice(adapter, &info, NULL, &device), "device");
    return device;
}

// Every kernel's bindings: a uniform at 0, storage buffers behind it.
static VkPipelineLayout layout_of(VkDevice device) {
    VkDescriptorSetLayoutBinding bindings[BINDINGS];
    for (uint32_t i = 0; i < BINDINGS; i++)
        bindings[i] = (VkDescriptorSetLayoutBinding){
            .binding = i,
            .descriptorType = i ? VK_DESCRIPTOR_TYPE_STORAGE_BUFFER : VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER_DYNAMIC,
            .descriptorCount = 1,
            .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT};
    VkDescriptorSetLayoutCreateInfo set_info = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
                                                .bindingCount = BINDINGS,
                                                .pBindings = bindings};
    VkDescriptorSetLayout set;
    check(vkCreateDescriptorSetLayout(device, &set_info, NULL, &set), "set layout");
    VkPipelineLayoutCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO, .setLayoutCount = 1, .pSetLayouts = &set};
    VkPipelineLayout layout;
    check(vkCreatePipelineLayout(device, &info, NULL, &layout), "pipeline layout");
    return layout;
}

static void print_statistics(VkDevice device, VkPipeline pipeline) {
    PFN_vkGetPipelineExecutableStatisticsKHR get =
        (PFN_vkGetPipelineExecutableStatisticsKHR)vkGetDeviceProcAddr(device, "vkGetPipelineExecutableStatisticsKHR");
    VkPipelineExecutableInfoKHR info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR, .pipeline = pipeline};
    uint32_t count = 0;
    check(get(device, &info, &count, NULL), "statistics");
    VkPipelineExecutableStatisticKHR *all = calloc(count, sizeof *all);
    for (uint32_t i = 0; i < count; i++)
        all[i].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR;
    check(get(device, &info, &count, all), "statistics");
    for (uint32_t i = 0; i < count; i++) {
        printf(",\"%s\":", all[i].name);
        if (all[i].format == VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_FLOAT64_KHR)
            printf("%g", all[i].value.f64);
        else
            printf("%llu", (unsigned long long)all[i].value.u64);
    }
    free(all);
}

static uint32_t *read_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        exit(1);
    }
    fseek(file, 0, SEEK_END);
    *size = (size_t)ftell(file);
    rewind(file);
    uint32_t *words = malloc(*size);
    if (fread(words, 1, *size, file) != *size) {
        fprintf(stderr, "shader_stats: %s: cannot be read\n", path);
        exit(1);
    }
    fclose(file);
    return words;
}

int main(int count, char **files) {
    VkApplicationInfo application = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO, .apiVersion = VK_API_VERSION_1_2};
    VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO, .pApplicationInfo = &application};
    VkInstance instance;
    check(vkCreateInstance(&info, NULL, &instance), "instance");
    VkPhysicalDevice adapter = adapter_of(instance);
    VkPhysicalDeviceProperties properties;
    vkGetPhysicalDeviceProperties(adapter, &properties);
    VkDevice device = open_device(adapter);
    VkPipelineLayout layout = layout_of(device);
    for (int i = 1; i < count; i++) {
        size_t size;
        uint32_t *words = read_file(files[i], &size);
        VkShaderModuleCreateInfo module_info = {
            .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO, .codeSize = size, .pCode = words};
        VkShaderModule module;
        check(vkCreateShaderModule(device, &module_info, NULL, &module), files[i]);
        VkComputePipelineCreateInfo pipeline_info = {
            .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
            .flags = VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR,
            .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                      .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                      .module = module,
                      .pName = "main"},
            .layout = layout};
        struct timespec begin, end;
        VkPipeline pipeline;
        clock_gettime(CLOCK_MONOTONIC, &begin);
        check(vkCreateComputePipelines(device, VK_NULL_HANDLE, 1, &pipeline_info, NULL, &pipeline), files[i]);
        clock_gettime(CLOCK_MONOTONIC, &end);
        double ms = (double)(end.tv_sec - begin.tv_sec) * 1e3 + (double)(end.tv_nsec - begin.tv_nsec) / 1e6;
        printf("{\"file\":\"%s\",\"adapter\":\"%s\",\"ms\":%.1f", files[i], properties.deviceName, ms);
        print_statistics(device, pipeline);
        printf("}\n");
        fflush(stdout);
        vkDestroyPipeline(device, pipeline, NULL);
        vkDestroyShaderModule(device, module, NULL);
        free(words);
    }
    return 0;
}
