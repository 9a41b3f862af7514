"""The entry that QGIS looks for."""


def classFactory(iface):
    from .provider import Plugin

    return Plugin(iface)
