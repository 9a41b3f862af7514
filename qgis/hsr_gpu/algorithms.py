"""The algorithms as QGIS's Processing shows them: parameters in, options of the program out."""

from qgis.core import (
    QgsContrastEnhancement,
    QgsMultiBandColorRenderer,
    QgsProcessingAlgorithm,
    QgsProcessingException,
    QgsProcessingLayerPostProcessorInterface,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
    QgsRasterMinMaxOrigin,
)

from . import program

BACKENDS = ("auto", "gpu", "cpu")
ALIGNMENTS = ("auto", "off", "shift", "affine", "local")
GRIDS = ("msi", "hsi")


class Style(QgsProcessingLayerPostProcessorInterface):
    """Red, green and blue by wavelength, 2 to 98 % of the samples."""

    #: QGIS holds no reference of its own.
    kept = None

    def __init__(self, bands):
        super().__init__()
        self.bands = bands

    def postProcessLayer(self, layer, context, feedback):
        layer.setRenderer(QgsMultiBandColorRenderer(layer.dataProvider(), *self.bands))
        layer.setContrastEnhancement(
            QgsContrastEnhancement.StretchToMinimumMaximum, QgsRasterMinMaxOrigin.CumulativeCut
        )


def colours(wavelengths, count):
    """Bands (from 1) nearest to 650, 550 and 460 nm; spread evenly where there is no visible light."""
    if wavelengths and min(wavelengths) <= 500 and max(wavelengths) >= 600:
        def nearest(nm):
            return min(range(len(wavelengths)), key=lambda band: abs(wavelengths[band] - nm))

        return [1 + nearest(nm) for nm in (650, 550, 460)]
    return [1 + round((count - 1) * part) for part in (0.8, 0.5, 0.2)]


class Base(QgsProcessingAlgorithm):
    """What all algorithms share: the two images, and how they are registered."""

    def createInstance(self):
        return type(self)()

    def name(self):
        return type(self).__name__.lower()

    def displayName(self):
        return self.title

    def shortHelpString(self):
        return self.help

    def initAlgorithm(self, config=None):
        self.addParameter(QgsProcessingParameterRasterLayer("HSI", "Hyperspectral image (coarse pixels)"))
        self.addParameter(QgsProcessingParameterRasterLayer("MSI", "Multispectral or RGB image (fine pixels)"))
        self.advanced(QgsProcessingParameterEnum("ALIGN", "Registration", list(ALIGNMENTS), defaultValue=0))

    def advanced(self, parameter):
        """Adds a parameter that is folded away at first."""
        parameter.setFlags(parameter.flags() | QgsProcessingParameterDefinition.FlagAdvanced)
        self.addParameter(parameter)

    def sensors(self):
        """Adds what may be known of the sensors."""
        for name, title in (("PSF", "Point spread function"), ("SRF", "Spectral response")):
            self.addParameter(QgsProcessingParameterString(name, title, defaultValue="blind", optional=True))

    def options(self, parameters, context):
        """The options of the program that these parameters mean."""
        images = []
        for name in ("HSI", "MSI"):
            layer = self.parameterAsRasterLayer(parameters, name, context)
            if layer is None:
                raise QgsProcessingException(self.invalidRasterError(parameters, name))
            images += [f"--{name.lower()}", layer.source()]
        options = [*images, "--align", ALIGNMENTS[self.parameterAsEnum(parameters, "ALIGN", context)]]
        for name in ("PSF", "SRF"):
            if self.parameterDefinition(name) and self.parameterAsString(parameters, name, context):
                options += [f"--{name.lower()}", self.parameterAsString(parameters, name, context)]
        return options

    def call(self, command, options, feedback):
        """Runs the program under QGIS's progress bar; None where the user has cancelled it."""

        def stage(name, share):
            feedback.setProgressText(name)
            feedback.setProgress(100 * share)

        try:
            return program.run([command, *options], stage, feedback.pushInfo, feedback.isCanceled)
        except program.ProgramError as error:
            raise QgsProcessingException(str(error)) from error

    def style(self, out, context):
        """Has a result that is shown begin with sensible colours."""
        if context.willLoadLayerOnCompletion(out):
            facts = program.run(["info", out])
            Style.kept = Style(colours(facts["wavelengths_nm"], facts["bands"]))
            context.layerToLoadOnCompletionDetails(out).setPostProcessor(Style.kept)


class Fuse(Base):
    title = "Fuse"
    help = (
        "Computes an image with the pixels of the multispectral image and the bands of the hyperspectral one. Point spread "
        "function and spectral response are estimated from the two images unless they are named (sentinel-2a:B2,B3,B4, "
        "gaussian:2,2,0, or a file). The two need not fit each other: they are registered. The verdict on the result is in the log."
    )

    def initAlgorithm(self, config=None):
        super().initAlgorithm(config)
        self.sensors()
        self.advanced(QgsProcessingParameterEnum("GRID", "Pixels of the result", list(GRIDS), defaultValue=0))
        self.advanced(QgsProcessingParameterEnum("BACKEND", "Compute on", list(BACKENDS), defaultValue=0))
        self.advanced(
            QgsProcessingParameterNumber("STEPS", "Steps of training (0: the preset's)", defaultValue=0, minValue=0)
        )
        self.advanced(QgsProcessingParameterNumber("SEED", "Seed", defaultValue=0, minValue=0))
        self.addParameter(QgsProcessingParameterRasterDestination("OUTPUT", "Fused image"))

    def processAlgorithm(self, parameters, context, feedback):
        out = self.parameterAsOutputLayer(parameters, "OUTPUT", context)
        options = [*self.options(parameters, context), "--out", out]
        options += ["--grid", GRIDS[self.parameterAsEnum(parameters, "GRID", context)]]
        options += ["--backend", BACKENDS[self.parameterAsEnum(parameters, "BACKEND", context)]]
        options += ["--seed", str(self.parameterAsInt(parameters, "SEED", context))]
        steps = self.parameterAsInt(parameters, "STEPS", context)
        if steps:
            options += ["--steps", str(steps)]
        report = self.call("fuse", options, feedback)
        if report is None:
            return {}
        verdict = report["verdict"]
        say = feedback.pushInfo if verdict["verdict"] == "good" else feedback.pushWarning
        say("verdict: " + ": ".join(verdict[key] for key in ("verdict", "why") if key in verdict))
        self.style(out, context)
        return {"OUTPUT": out}


class Estimate(Base):
    title = "Estimate PSF and SRF"
    help = "Estimates the point spread function and the spectral response from two images of one scene."

    def initAlgorithm(self, config=None):
        super().initAlgorithm(config)
        self.sensors()
        self.addParameter(QgsProcessingParameterFolderDestination("OUTPUT", "Folder for psf.npy and srf.npy"))

    def processAlgorithm(self, parameters, context, feedback):
        folder = self.parameterAsString(parameters, "OUTPUT", context)
        options = [*self.options(parameters, context), "--save-degradation", folder]
        return {} if self.call("estimate", options, feedback) is None else {"OUTPUT": folder}


class Align(Base):
    title = "Align"
    help = "Brings the multispectral image onto the pixels of the hyperspectral one, each divided by the ratio of both."

    def initAlgorithm(self, config=None):
        super().initAlgorithm(config)
        self.addParameter(QgsProcessingParameterRasterDestination("OUTPUT", "Aligned image"))

    def processAlgorithm(self, parameters, context, feedback):
        out = self.parameterAsOutputLayer(parameters, "OUTPUT", context)
        if self.call("align", [*self.options(parameters, context), "--out", out], feedback) is None:
            return {}
        self.style(out, context)
        return {"OUTPUT": out}
