"""The plugin and its Processing provider."""

from qgis.core import QgsApplication, QgsProcessingProvider

from .algorithms import Align, Estimate, Fuse


class Provider(QgsProcessingProvider):
    def id(self):
        return "hsr_gpu"

    def name(self):
        return "hsr-gpu"

    def longName(self):
        return "hsr-gpu: hyperspectral super-resolution"

    def loadAlgorithms(self):
        for algorithm in (Fuse, Estimate, Align):
            self.addAlgorithm(algorithm())


class Plugin:
    """Registers the provider; the window is QGIS's own."""

    def __init__(self, iface):
        self.iface = iface
        self.provider = None

    def initProcessing(self):
        self.provider = Provider()
        QgsApplication.processingRegistry().addProvider(self.provider)

    def initGui(self):
        self.initProcessing()

    def unload(self):
        if self.provider is not None:
            QgsApplication.processingRegistry().removeProvider(self.provider)
